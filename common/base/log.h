// Events for operators: one line each, `level event key=value…`. Never a secret, never one per packet.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace switchback::log {

enum class Level { debug, info, warning, error };
enum class Sink { standard_error, journald };

/// One key=value of a line. Values with spaces, quotes or control characters are quoted and escaped when written.
struct Field {
  std::string_view key;
  std::string value;

  Field(std::string_view k, std::string_view v) : key{k}, value{v} {}
  Field(std::string_view k, const char* v) : key{k}, value{v} {}
  Field(std::string_view k, const std::string& v) : key{k}, value{v} {}
  Field(std::string_view k, bool v) : key{k}, value{v ? "yes" : "no"} {}
  template <class Number>
  requires std::integral<Number> || std::floating_point<Number> Field(std::string_view k, Number v)
      : key{k}, value{std::to_string(v)} {}
  template <class T>
  requires requires(const T& v) {
    { v.to_string() } -> std::convertible_to<std::string>;
  }
  Field(std::string_view k, const T& v) : key{k}, value{v.to_string()} {}
};

/// Call once at start, before threads. The default is info to standard error.
void configure(Level threshold, Sink sink);
[[nodiscard]] Result<Level, UserError> parse_level(std::string_view text);
[[nodiscard]] bool enabled(Level level) noexcept;

/// @param event  a constant snake_case name, the thing one searches the log for
void write(Level level, std::string_view event, std::initializer_list<Field> fields = {});

inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::debug, event, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::info, event, fields);
}
inline void warning(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::warning, event, fields);
}
inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::error, event, fields);
}

}  // namespace switchback::log
