// The decoy's requests: whatever comes, in pieces of any size, memory and the number of answers stay bounded.
#include <algorithm>

#include "tests/fuzz/require.h"
#include "transports/tls/http_server.h"

using namespace switchback;
using switchback::test::require;
using transports::tls::HttpServer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = std::size_t{1} + data[0];
  ByteView input{data + 1, size - 1};
  HttpServer server{transports::tls::default_page()};
  unsigned answers = 0;
  bool over = false;
  while (!input.empty() && !over) {
    require(server.room() > 0);
    const auto count = std::min({piece, input.size(), server.room()});
    server.give(input.first(count));
    input = input.subspan(count);
    while (const auto response = server.next(WallTime{})) {
      require(!over);
      require(response->head.starts_with("HTTP/1.1 "));
      require(response->head.find("\r\n\r\n") != std::string::npos);
      over = response->last;
      ++answers;
    }
    require(answers <= HttpServer::kMostRequests);
  }
  return 0;
}
