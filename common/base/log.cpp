#include "common/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "common/base/bytes.h"

namespace switchback::log {
namespace {

std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("switchback", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%l %v");
    return made;
  }();
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) noexcept {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

void append_value(std::string& line, std::string_view value) {
  const auto plain = [](char c) { return std::isgraph(static_cast<unsigned char>(c)) != 0 && c != '"' && c != '='; };
  if (!value.empty() && std::all_of(value.begin(), value.end(), plain)) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (std::isprint(static_cast<unsigned char>(c)) != 0) {
      line += c;
    } else {
      const auto octet = static_cast<std::uint8_t>(c);
      line += "\\x" + to_hex({&octet, 1});
    }
  }
  line += '"';
}

}  // namespace

void configure(Level threshold, Sink sink) {
  spdlog::sink_ptr target;
  if (sink == Sink::journald) {
    target = std::make_shared<spdlog::sinks::systemd_sink_mt>("switchback");
  } else {
    target = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  auto made = std::make_shared<spdlog::logger>("switchback", std::move(target));
  made->set_pattern(sink == Sink::journald ? "%v" : "%l %v");
  made->set_level(to_spdlog(threshold));
  made->flush_on(spdlog::level::debug);
  logger() = std::move(made);
}

Result<Level, UserError> parse_level(std::string_view text) {
  if (text == "debug") return Level::debug;
  if (text == "info") return Level::info;
  if (text == "warning") return Level::warning;
  if (text == "error") return Level::error;
  return fail_user("unknown log level \"" + std::string{text} + "\": use debug, info, warning or error");
}

bool enabled(Level level) noexcept { return logger()->should_log(to_spdlog(level)); }

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  std::string line{event};
  for (const auto& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  logger()->log(to_spdlog(level), line);
}

}  // namespace switchback::log
