sb_fuzz(path_control SOURCE fuzz_path_control.cpp DEPENDS sb_path)
sb_fuzz(path_selector SOURCE fuzz_path_selector.cpp DEPENDS sb_path)
sb_fuzz(path_offer SOURCE fuzz_path_offer.cpp DEPENDS sb_path)
