// RFC 9329 frames between our TCP engine, on the real link layer, and a kernel's TCP socket. See --help.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "common/crypto/random.h"
#include "common/io/guarded_listener.h"
#include "common/io/packet_socket.h"
#include "transports/ctcp/syn_cookie.h"
#include "transports/ctcp/tcp_engine.h"

using namespace switchback;
using namespace switchback::transports;
using namespace switchback::transports::ctcp;

namespace {

constexpr const char* kHelp =
    "ctcp_stream engine|kernel send|receive --connect ADDRESS:PORT | --listen ADDRESS:PORT\n"
    "            [--ordered|--unordered] [--bytes N]\n"
    "One end runs `engine` (needs root), the other `kernel`; one `send`, the other `receive`; one connects, the other\n"
    "listens. Frames are of 1000 octets with number and pattern. The receiver checks every octet and prints\n"
    "  frames=N missing=N duplicates=N corrupt=N misordered=N out_of_order=N seconds=N\n"
    "where misordered counts frames that do not follow the one before, and out_of_order segments that came past a\n"
    "hole; the sender prints sent=N resent=N seconds=N. Exit status 0 only if no frame is missing, duplicate or "
    "corrupt\n"
    "or, unless --unordered, out of order.\n"
    "--ordered (default): a receiving engine gives frames in their order; --unordered: each as soon as it is "
    "complete.\n"
    "--bytes N: payload in all, the same at both ends; default 10000000. Ends after 20 s without progress.\n";

constexpr std::size_t kFrame = 1000;
constexpr Duration kPatience = std::chrono::seconds{20};
/// What a sending engine has outstanding: it has no congestion control, that is the tunnel's inner flows' own matter.
constexpr std::size_t kOutstanding = 512 * 1024;
constexpr std::size_t kFramesPerCall = 64;

Instant now() { return std::chrono::steady_clock::now(); }

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "ctcp_stream: %s\n", why.c_str());
  std::exit(2);
}

using Frame = std::array<std::uint8_t, kFrame>;

Frame make_frame(std::uint32_t number) {
  Frame octets{};
  for (std::size_t i = 0; i < octets.size(); ++i) octets[i] = static_cast<std::uint8_t>(number * 31 + i * 7);
  store_be(octets.data(), std::uint32_t{0x51000001});
  store_be(octets.data() + 4, number);
  return octets;
}

class Stopwatch {
 public:
  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(now() - since_).count(); }
  void restart() { since_ = now(); }

 private:
  Instant since_ = now();
};

struct Check {
  explicit Check(std::size_t wanted) : seen(wanted) {}
  void take(const stream::Frame& frame) {
    if (frames++ == 0) watch.restart();
    last = watch.seconds();
    const auto number = frame.payload.size() == kFrame ? load_be<std::uint32_t>(frame.payload.data() + 4) : ~0U;
    const auto original = make_frame(number);
    if (number >= seen.size() || !same_bytes(frame.payload, original)) {
      ++corrupt;
      return;
    }
    if (seen[number]) ++duplicates;
    if (number != next) ++misordered;
    next = number + 1;
    seen[number] = true;
  }
  [[nodiscard]] std::size_t missing() const {
    return static_cast<std::size_t>(std::count(seen.begin(), seen.end(), false));
  }
  [[nodiscard]] bool right(bool ordered) const {
    return corrupt + duplicates + missing() + (ordered ? misordered : 0) == 0;
  }
  int finish(bool ordered, std::uint64_t out_of_order) const {
    std::printf("frames=%zu missing=%zu duplicates=%zu corrupt=%zu misordered=%zu out_of_order=%llu seconds=%.1f\n",
                frames, missing(), duplicates, corrupt, misordered, static_cast<unsigned long long>(out_of_order),
                last);
    return right(ordered) ? 0 : 1;
  }
  std::vector<bool> seen;
  std::size_t frames = 0, duplicates = 0, corrupt = 0, misordered = 0;
  std::uint32_t next = 0;
  Stopwatch watch;  // since the first frame
  double last = 0;  // when the last one came
};

int report_sent(std::size_t sent, std::size_t wanted, std::uint64_t resent, double seconds) {
  std::printf("sent=%zu resent=%llu seconds=%.1f\n", sent, static_cast<unsigned long long>(resent), seconds);
  return sent == wanted ? 0 : 1;
}

struct Options {
  bool engine = false, send = false, connect = false, ordered = true;
  Endpoint endpoint;
  std::size_t frames = 10000;
};

// ---------------------------------------------------------------- the kernel's end

tcp_info kernel_figures(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  return info;
}

int run_kernel(const Options& options) {
  const auto family = options.endpoint.address.is_v6() ? AF_INET6 : AF_INET;
  UniqueFd fd{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_storage name{};
  const auto bytes = options.endpoint.to_sockaddr(name);
  const auto* address = reinterpret_cast<const sockaddr*>(&name);
  if (options.connect) {
    if (::connect(fd.get(), address, bytes) != 0) die("cannot connect");
  } else {
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (::bind(fd.get(), address, bytes) != 0 || ::listen(fd.get(), 1) != 0) die("cannot listen");
    UniqueFd accepted{::accept(fd.get(), nullptr, nullptr)};
    fd = std::move(accepted);
  }
  // The connecting end starts the stream with its prefix, whichever end sends.
  if (options.connect && ::send(fd.get(), stream::kPrefix.data(), stream::kPrefix.size(), MSG_NOSIGNAL) != 6) {
    die("cannot send");
  }
  if (options.send) {
    const Stopwatch watch;
    Bytes octets;
    for (std::size_t i = 0; i < options.frames;) {
      octets.clear();
      for (std::size_t k = 0; k < kFramesPerCall && i < options.frames; ++k) {
        stream::append_frame(stream::Content::esp, make_frame(static_cast<std::uint32_t>(i++)), octets);
      }
      std::size_t done = 0;
      while (done < octets.size()) {
        const auto put = ::send(fd.get(), octets.data() + done, octets.size() - done, MSG_NOSIGNAL);
        if (put <= 0) die("the connection broke");
        done += static_cast<std::size_t>(put);
      }
    }
    ::shutdown(fd.get(), SHUT_WR);
    // Until the other end has it all and closes, or is silent.
    pollfd entry{fd.get(), POLLIN, 0};
    std::uint8_t octet = 0;
    while (::poll(&entry, 1, 20000) == 1 && ::recv(fd.get(), &octet, 1, 0) > 0) {
    }
    return report_sent(options.frames, options.frames, kernel_figures(fd.get()).tcpi_total_retrans, watch.seconds());
  }
  if (options.connect) {  // something after the prefix, so that the listening engine sends
    Bytes octets;
    stream::append_frame(stream::Content::esp, make_frame(0), octets);
    if (::send(fd.get(), octets.data(), octets.size(), MSG_NOSIGNAL) <= 0) die("cannot send");
  }
  Check check{options.frames};
  stream::StreamParser parser{!options.connect};
  Bytes input(65536);
  pollfd entry{fd.get(), POLLIN, 0};
  while (check.frames < options.frames && ::poll(&entry, 1, 20000) == 1) {
    const auto got = ::recv(fd.get(), input.data(), input.size(), 0);
    if (got <= 0) break;
    parser.give(ByteView{input}.first(static_cast<std::size_t>(got)));
    for (;;) {
      const auto frame = parser.next();
      if (!frame) die("the stream lost its framing");
      if (!*frame) break;
      check.take(**frame);
    }
  }
  return check.finish(true, kernel_figures(fd.get()).tcpi_rcv_ooopack);
}

// ---------------------------------------------------------------- the engine's end

class EngineEnd {
 public:
  explicit EngineEnd(const Options& options)
      : options_{options},
        hops_{io::NextHops::open(0).value()},
        tap_{io::TcpTap::open(options.endpoint.address.family(), std::size_t{8} << 20U).value()},
        emitter_{io::TcpEmitter::open({}).value()},
        cookies_{make_cookies()},
        // A sender that listens gets one frame first.
        check_{options.send ? std::size_t{options.connect ? 0U : 1U} : options.frames} {
    auto local = options.endpoint;
    if (options.connect) {
      const auto hop = hops_.find(options.endpoint.address, now());
      if (!hop) die("no route");
      local = {hop->source, 0};
    }
    guard_ = io::open_guarded(local).value();
    path_.local = guard_.local;
    const std::array<std::uint16_t, 1> ports{guard_.local.port};
    static_cast<void>(tap_.set_ports(ports));
    if (options.connect) {
      path_.remote = options.endpoint;
      engine_ = TcpEngine::connect(config(), random_, now());
    }
  }

  int run() {
    auto progress = now();
    std::size_t last = 0;
    Bytes buffer(io::TcpTap::kBufferBytes);
    std::optional<Instant> over;
    while (now() < progress + kPatience && (!over || now() < *over)) {
      io::ReceivedTcp message;
      for (int i = 0; i < 64; ++i) {
        const auto outcome = tap_.receive(buffer, message);
        if (outcome == io::TcpTap::Outcome::drained) break;
        if (outcome == io::TcpTap::Outcome::segment) handle(buffer, message);
      }
      if (engine_) {
        const auto at = engine_->next_deadline();
        if (at && *at <= now()) engine_->handle_deadline(now());
        give_frames();
        flush();
        if (engine_->state() == EngineState::closed) break;
      }
      const auto done = options_.send ? (engine_ && engine_->sender() ? engine_->sender()->una() : 0) : check_.frames;
      if (done != last) progress = now();
      last = done;
      const bool all = options_.send ? sent_ == options_.frames && engine_->sender()->in_flight() == 0
                                     : check_.frames >= options_.frames;
      if (all && !over) {
        seconds_ = watch_.seconds();
        engine_->close(now());
        over = now() + std::chrono::seconds{5};
      }
      pollfd entry{tap_.fd(), POLLIN, 0};
      ::poll(&entry, 1, 1);
    }
    if (!engine_ || !engine_->sender()) die("no connection");
    if (!options_.send) return check_.finish(options_.ordered, engine_->receiver()->counters().out_of_order);
    if (!check_.right(true)) die("what the other end sent is not what it should be");
    if (!over) die("not all was acknowledged");
    return report_sent(sent_, options_.frames, engine_->sender()->counters().resent, seconds_);
  }

 private:
  SynCookies make_cookies() {
    Secret key{32};
    random_.secret_fill(key.span());
    return {std::move(key), 1440};
  }
  EngineConfig config() const {
    EngineConfig config;
    config.local_port = path_.local.port;
    config.remote_port = path_.remote.port;
    config.mss = 1440;
    config.reliable = true;
    config.in_order = options_.ordered;
    return config;
  }
  void emit(const OutSegment& segment) {
    const auto hop = hops_.find(path_.remote.address, now());
    if (!hop) return;
    std::array<std::uint8_t, kTcpMaximumHeaderBytes> header{};
    const iovec payload{const_cast<std::uint8_t*>(segment.payload.data()), segment.payload.size()};
    io::TcpEmitter::Run run;
    run.source = path_.local.address;
    run.destination = path_.remote.address;
    run.header = ByteView{header}.first(write_header(segment.header, header));
    run.payloads = {&payload, segment.payload.empty() ? std::size_t{0} : std::size_t{1}};
    run.segment_bytes = run.payload_bytes = segment.payload.size();
    static_cast<void>(emitter_.send(run, *hop));
  }
  /// By what the framing is found again after octets that never come, as a session's SPI would.
  void mark() {
    if (!marked_) engine_->marks().add(Spi{0x51000001});
    marked_ = true;
  }
  void flush() {
    while (const auto segment = engine_->poll_segment(now())) emit(*segment);
  }
  void give_frames() {
    while (options_.send && sent_ < options_.frames && engine_->state() == EngineState::established &&
           engine_->sender()->in_flight() < kOutstanding) {
      if (sent_ == 0) watch_.restart();
      if (engine_->send_frame(stream::Content::esp, make_frame(static_cast<std::uint32_t>(sent_))) !=
          SendVerdict::taken) {
        break;
      }
      ++sent_;
    }
  }
  void handle(ByteView buffer, const io::ReceivedTcp& message) {
    const auto parsed = parse_segment(buffer.subspan(message.offset, message.bytes));
    if (!parsed) return;
    const auto each = message.segment_bytes > 0 ? message.segment_bytes : parsed->payload.size();
    std::size_t at = 0;
    do {
      auto segment = *parsed;
      segment.payload = parsed->payload.subspan(at, std::min(each, parsed->payload.size() - at));
      segment.header.sequence += static_cast<std::uint32_t>(at);
      at += segment.payload.size();
      if (at < parsed->payload.size()) segment.header.flags &= static_cast<std::uint8_t>(~(kFin | kPsh));
      if (!engine_ && !admit(segment, message)) return;
      if (!options_.ordered) mark();
      engine_->handle_segment(segment, now());
      while (const auto frame = engine_->poll_frame()) {
        check_.take(*frame);
      }
    } while (at < parsed->payload.size());
  }
  bool admit(const TcpSegmentView& segment, const io::ReceivedTcp& message) {
    path_.local.address = message.destination;
    path_.remote = {message.source, segment.header.source_port};
    if (segment.header.has(kSyn)) {
      if (const auto answer = cookies_.answer(segment, path_, now())) emit(*answer);
      return false;
    }
    const auto agreed = cookies_.accept(segment, path_, now());
    if (!agreed) return false;
    engine_ = TcpEngine::accept(config(), *agreed, now());
    return true;
  }

  Options options_;
  crypto::SystemRandom random_;
  io::NextHops hops_;
  io::TcpTap tap_;
  io::TcpEmitter emitter_;
  SynCookies cookies_;
  io::GuardedListener guard_;
  AddressPair path_;
  std::optional<TcpEngine> engine_;
  std::size_t sent_ = 0;
  bool marked_ = false;
  Check check_;
  Stopwatch watch_;
  double seconds_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 4 || arguments[0] == "--help") {
    std::fputs(kHelp, arguments.empty() || arguments[0] != "--help" ? stderr : stdout);
    return arguments.empty() || arguments[0] != "--help" ? 2 : 0;
  }
  Options options;
  options.engine = arguments[0] == "engine";
  options.send = arguments[1] == "send";
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    const bool more = i + 1 < arguments.size();
    if (arguments[i] == "--ordered" || arguments[i] == "--unordered") {
      options.ordered = arguments[i] == "--ordered";
    } else if (arguments[i] == "--bytes" && more) {
      options.frames = (std::strtoull(arguments[++i].c_str(), nullptr, 10) + kFrame - 1) / kFrame;
    } else if ((arguments[i] == "--connect" || arguments[i] == "--listen") && more) {
      options.connect = arguments[i] == "--connect";
      const auto endpoint = Endpoint::parse(arguments[++i]);
      if (!endpoint) die("no endpoint: " + arguments[i]);
      options.endpoint = *endpoint;
    } else {
      die("unknown argument " + arguments[i]);
    }
  }
  return options.engine ? EngineEnd{options}.run() : run_kernel(options);
}
