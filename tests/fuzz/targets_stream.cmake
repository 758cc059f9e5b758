sb_fuzz(tcp_segment SOURCE fuzz_tcp_segment.cpp DEPENDS sb_ctcp)
sb_fuzz(frame_scanner SOURCE fuzz_frame_scanner.cpp DEPENDS sb_stream)
sb_fuzz(tcp_engine SOURCE fuzz_tcp_engine.cpp DEPENDS sb_ctcp)
sb_fuzz(http_server SOURCE fuzz_http_server.cpp DEPENDS sb_tls)
