#include "tools/load/headend_watch.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace switchback::load {
namespace {

std::optional<std::string> read_all(const std::string& path) {
  std::ifstream in{path};
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<ThreadStat> parse_thread_stat(std::string_view line) {
  const auto open = line.find('('), close = line.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  ThreadStat stat;
  stat.name = line.substr(open + 1, close - open - 1);
  // Behind the name: state is field 3, utime 14, stime 15 (proc(5)).
  std::istringstream fields{std::string{line.substr(close + 1)}};
  std::string field;
  for (int index = 3; fields >> field; ++index) {
    if (index != 14 && index != 15) continue;
    const auto ticks = number<std::uint64_t>(field);
    if (!ticks) return std::nullopt;
    stat.ticks += *ticks;
    if (index == 15) return stat;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> parse_rss(std::string_view status) {
  constexpr std::string_view kKey = "VmRSS:";
  const auto at = status.find(kKey);
  if (at == std::string_view::npos) return std::nullopt;
  auto rest = status.substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  const auto kib = number<std::uint64_t>(rest);
  return kib ? std::optional{*kib * 1024} : std::nullopt;
}

Result<HeadendWatch, UserError> HeadendWatch::create(const std::string& pid_or_file) {
  HeadendWatch watch{pid_or_file};
  if (!watch.sample()) {
    return fail_user("--headend-pid: \"" + pid_or_file +
                     "\" is no running process of this machine, nor a file with the number of one");
  }
  return watch;
}

std::optional<long> HeadendWatch::pid() const {
  if (const auto direct = number<long>(source_)) return direct;
  const auto text = read_all(source_);
  return text ? number<long>(*text) : std::nullopt;
}

std::optional<HeadendSample> HeadendWatch::sample() const {
  const auto process = pid();
  if (!process) return std::nullopt;
  const auto folder = "/proc/" + std::to_string(*process);
  const auto status = read_all(folder + "/status");
  const auto rss = status ? parse_rss(*status) : std::nullopt;
  if (!rss) return std::nullopt;
  HeadendSample sample;
  sample.rss_bytes = *rss;
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator{folder + "/task", error}) {
    const auto line = read_all(thread.path().string() + "/stat");
    const auto stat = line ? parse_thread_stat(*line) : std::nullopt;
    if (!stat) continue;  // it has just ended
    const auto seconds = static_cast<double>(stat->ticks) / ticks_per_second;
    sample.cpu_by_thread[stat->name] += seconds;
    sample.cpu_seconds += seconds;
  }
  return sample;
}

}  // namespace switchback::load
