#include "tools/load/report.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace switchback::load {
namespace {

constexpr std::array<std::pair<const char*, double>, 5> kShares{
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}}};

double millis(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...) {
  std::array<char, 512> line{};
  std::va_list values;
  va_start(values, format);
  const auto length = std::vsnprintf(line.data(), line.size(), format, values);
  va_end(values);
  return {line.data(), std::min(static_cast<std::size_t>(std::max(length, 0)), line.size() - 1)};
}

std::string latencies_text(const Latencies& latencies) {
  std::string out;
  for (const auto& [name, share] : kShares) {
    if (const auto at = latencies.percentile(share)) out += text(" %s %.1f", name, millis(*at));
  }
  return out + " ms";
}

std::string reasons_text(const std::map<std::string, std::uint64_t>& reasons) {
  std::string out;
  for (const auto& [reason, times] : reasons) {
    out += (out.empty() ? "" : ", ") + reason + " " + std::to_string(times);
  }
  return out;
}

nlohmann::json latencies_json(const Latencies& latencies) {
  nlohmann::json out{{"count", latencies.count()}};
  for (const auto& [name, share] : kShares) {
    const auto at = latencies.percentile(share);
    out[std::string{name} + "_ms"] = at ? nlohmann::json(millis(*at)) : nlohmann::json();
  }
  return out;
}

/// The value, or null.
template <class Value>
nlohmann::json or_null(const std::optional<Value>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}
nlohmann::json seconds_or_null(const std::optional<Duration>& value) {
  return value ? nlohmann::json(std::chrono::duration<double>(*value).count()) : nlohmann::json();
}

std::map<std::string, double> cpu_of_phase(const PhaseResult& result) {
  // A headend that was restarted meanwhile counts from zero again.
  std::map<std::string, double> used;
  if (!result.before || !result.after) return used;
  const bool same = result.after->cpu_seconds >= result.before->cpu_seconds;
  for (const auto& [name, seconds] : result.after->cpu_by_thread) {
    const auto before = result.before->cpu_by_thread.find(name);
    used[name] = seconds - (same && before != result.before->cpu_by_thread.end() ? before->second : 0.0);
  }
  return used;
}

}  // namespace

std::string render_phase(const PhaseResult& result, std::size_t wanted) {
  const auto& tally = result.tally;
  std::string out = text("%s: %s in %.1f s, %zu of %zu sessions up\n", result.text.c_str(),
                         result.reached ? "done" : "NOT REACHED", result.seconds, result.up, wanted);
  if (tally.attempts > 0) {
    out += text("  handshakes %llu of %llu attempts, %.0f/s on average, %.0f in the best second;",
                static_cast<unsigned long long>(tally.handshakes), static_cast<unsigned long long>(tally.attempts),
                static_cast<double>(tally.handshakes) / std::max(result.seconds, 1e-3), result.busiest_second);
    out += latencies_text(tally.handshake) + "\n";
  }
  if (!tally.failures.empty()) out += "  attempts that failed: " + reasons_text(tally.failures) + "\n";
  if (!tally.losses.empty()) out += "  sessions lost: " + reasons_text(tally.losses) + "\n";
  if (result.half_back || result.all_back) {
    const auto seconds = [](const std::optional<Duration>& when) {
      return when ? text("%.1f s", std::chrono::duration<double>(*when).count()) : std::string{"never"};
    };
    out += "  after the first went down: half were up again in " + seconds(result.half_back) + ", all in " +
           seconds(result.all_back) + "\n";
  }
  if (tally.echo_sent > 0) {
    out += text("  echo %llu of %llu answered;", static_cast<unsigned long long>(tally.echo_received),
                static_cast<unsigned long long>(tally.echo_sent));
    out += latencies_text(tally.echo);
    if (result.worst_share) {
      out += text("; answered to the median session %.1f %%, to the worst %.1f %%", *result.median_share * 100,
                  *result.worst_share * 100);
    }
    out += "\n";
  }
  if (result.after) {
    out += text("  headend: %.1f MiB (at most %.1f)", static_cast<double>(result.after->rss_bytes) / 1048576.0,
                static_cast<double>(result.rss_peak) / 1048576.0);
    for (const auto& [name, seconds] : cpu_of_phase(result)) {
      out += text(", %s %.1f %% of a core", name.c_str(), seconds / std::max(result.seconds, 1e-3) * 100);
    }
    out += "\n";
  }
  if (result.wire.refused > 0) {
    out += text("  %llu datagrams were not taken by this machine's kernel\n",
                static_cast<unsigned long long>(result.wire.refused));
  }
  return out;
}

std::string render_json(const std::vector<PhaseResult>& results, std::uint64_t empty_rss_bytes) {
  auto phases = nlohmann::json::array();
  for (const auto& result : results) {
    const auto& tally = result.tally;
    nlohmann::json phase{
        {"phase", result.text},
        {"reached", result.reached},
        {"seconds", result.seconds},
        {"sessions_up", result.up},
        {"attempts", tally.attempts},
        {"handshakes", tally.handshakes},
        {"handshakes_per_second", static_cast<double>(tally.handshakes) / std::max(result.seconds, 1e-3)},
        {"handshakes_in_best_second", result.busiest_second},
        {"handshake", latencies_json(tally.handshake)},
        {"failures", tally.failures},
        {"losses", tally.losses},
        {"half_back_seconds", seconds_or_null(result.half_back)},
        {"all_back_seconds", seconds_or_null(result.all_back)},
        {"echo_sent", tally.echo_sent},
        {"echo_received", tally.echo_received},
        {"echo", latencies_json(tally.echo)},
        {"answered_share_worst", or_null(result.worst_share)},
        {"answered_share_median", or_null(result.median_share)},
        {"keepalives", tally.keepalives},
        {"esp_refused", tally.esp_refused},
        {"datagrams_sent", result.wire.sent},
        {"datagrams_received", result.wire.received},
        {"datagrams_refused", result.wire.refused},
        {"headend", nullptr}};
    if (result.after) {
      nlohmann::json headend{{"rss_bytes", result.after->rss_bytes},
                             {"rss_peak_bytes", result.rss_peak},
                             {"cpu_seconds", cpu_of_phase(result)},
                             {"bytes_per_session", nullptr}};
      if (empty_rss_bytes != 0 && result.up > 0 && result.after->rss_bytes > empty_rss_bytes) {
        headend["bytes_per_session"] = (result.after->rss_bytes - empty_rss_bytes) / result.up;
      }
      phase["headend"] = std::move(headend);
    }
    phases.push_back(std::move(phase));
  }
  return nlohmann::json{{"headend_rss_bytes_without_sessions", empty_rss_bytes}, {"phases", std::move(phases)}}.dump(2);
}

std::string render_progress(const Progress& progress) {
  constexpr std::size_t kWidth = 24;
  const auto filled = static_cast<std::size_t>(std::clamp(progress.done, 0.0, 1.0) * kWidth);
  return text("\r%-22.22s [%s%s] up %zu, handshakes %llu, failed %llu\033[K", std::string{progress.phase}.c_str(),
              std::string(filled, '#').c_str(), std::string(kWidth - filled, '.').c_str(), progress.up,
              static_cast<unsigned long long>(progress.handshakes), static_cast<unsigned long long>(progress.failures));
}

}  // namespace switchback::load
