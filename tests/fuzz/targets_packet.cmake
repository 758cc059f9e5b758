# Packets from the TUN, from the inside of the tunnel and from the network.
sb_fuzz(segment SOURCE fuzz_segment.cpp DEPENDS sb_packet)
sb_fuzz(coalesce SOURCE fuzz_coalesce.cpp DEPENDS sb_packet)
sb_fuzz(clamp_mss SOURCE fuzz_clamp_mss.cpp DEPENDS sb_packet)
sb_fuzz(esp_open SOURCE fuzz_esp_open.cpp DEPENDS sb_esp)
sb_fuzz(icmp_quote SOURCE fuzz_icmp_quote.cpp DEPENDS sb_packet)
