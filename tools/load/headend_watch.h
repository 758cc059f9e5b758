// What the headend costs, if it runs on this machine: memory and processor time of its process, read from /proc.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"

namespace switchback::load {

struct HeadendSample {
  std::uint64_t rss_bytes = 0;
  double cpu_seconds = 0;                       // of all threads, since the process began
  std::map<std::string, double> cpu_by_thread;  // by name; those that share one are added up
};

/// The name and the processor time (user and system, in clock ticks) of a line of /proc/PID/task/TID/stat. A name may
/// hold blanks and parentheses. Pure.
struct ThreadStat {
  std::string name;
  std::uint64_t ticks = 0;
};
[[nodiscard]] std::optional<ThreadStat> parse_thread_stat(std::string_view line);
/// VmRSS of /proc/PID/status, in octets. Pure.
[[nodiscard]] std::optional<std::uint64_t> parse_rss(std::string_view status);

class HeadendWatch {
 public:
  /// @param pid_or_file  a process number, or a file that holds it and is read each time: after a restart it is another
  [[nodiscard]] static Result<HeadendWatch, UserError> create(const std::string& pid_or_file);
  /// Nothing while there is no such process.
  [[nodiscard]] std::optional<HeadendSample> sample() const;

 private:
  explicit HeadendWatch(std::string source) : source_{std::move(source)} {}
  [[nodiscard]] std::optional<long> pid() const;
  std::string source_;
};

}  // namespace switchback::load
