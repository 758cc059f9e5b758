# What the device between the ends is given.
sb_fuzz(middlebox SOURCE fuzz_middlebox.cpp DEPENDS sb_middlebox)
