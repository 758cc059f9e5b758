sb_fuzz(udp_framing SOURCE fuzz_udp_framing.cpp DEPENDS sb_dataplane sb_udp)
