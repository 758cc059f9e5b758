sb_fuzz(ike_message SOURCE fuzz_ike_message.cpp DEPENDS sb_ike)
sb_fuzz(ike_payload SOURCE fuzz_ike_payload.cpp DEPENDS sb_ike)
sb_fuzz(ike_sk SOURCE fuzz_ike_sk.cpp DEPENDS sb_ike)
sb_fuzz(ike_proposal_text SOURCE fuzz_ike_proposal_text.cpp DEPENDS sb_ike)
