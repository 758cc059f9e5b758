sb_fuzz(certificate SOURCE fuzz_certificate.cpp DEPENDS sb_crypto)
sb_fuzz(ike_identity SOURCE fuzz_ike_identity.cpp DEPENDS sb_crypto)
sb_fuzz(auth_data SOURCE fuzz_auth_data.cpp DEPENDS sb_crypto)
