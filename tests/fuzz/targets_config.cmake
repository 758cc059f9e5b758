# Files that people write, or are given by others.
sb_fuzz(profile SOURCE fuzz_profile.cpp DEPENDS sb_profile)
sb_fuzz(headend_config SOURCE fuzz_headend_config.cpp DEPENDS sb_headend)
