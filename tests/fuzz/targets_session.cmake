sb_fuzz(ike_session SOURCE fuzz_ike_session.cpp DEPENDS sb_test_support)
