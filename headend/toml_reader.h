// Reading a TOML table strictly: typed values, ranges, and no key left unread. Private to config.cpp.
#pragma once

#include <toml++/toml.h>
#include <algorithm>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace switchback::headend {

/// The closest of `known` to a mistyped word, if any is close.
[[nodiscard]] std::optional<std::string> closest(std::string_view word, const std::set<std::string>& known);

/// Collects the first error; all reads after it give defaults. One for a whole file.
class TomlErrors {
 public:
  explicit TomlErrors(std::string file) : file_{std::move(file)} {}
  /// @param key  dotted; empty for the file as a whole
  void report(const toml::source_region& where, std::string_view key, std::string_view what) {
    report(where.begin.line, key, what);
  }
  void report(std::size_t line, std::string_view key, std::string_view what);
  [[nodiscard]] const std::optional<UserError>& first() const noexcept { return first_; }

 private:
  std::string file_;
  std::optional<UserError> first_;
};

class TomlSection {
 public:
  /// @param table  null: the section is absent and every value takes its default
  TomlSection(const toml::table* table, std::string name, TomlErrors& errors)
      : table_{table}, name_{std::move(name)}, errors_{errors} {}

  /// An absent key leaves `out` as it is; false if absent or wrong.
  bool read(std::string_view key, std::string& out);
  bool read(std::string_view key, bool& out);
  bool read_integer(std::string_view key, std::int64_t& out, std::int64_t least, std::int64_t most);
  bool read_number(std::string_view key, double& out, double least, double most);
  bool read(std::string_view key, std::vector<std::string>& out);
  /// Strings, each turned into a T by `parse`, which gives an optional; `wants` says what would be right.
  template <class T, class Parse>
  bool read_list(std::string_view key, std::vector<T>& out, std::string_view wants, Parse parse) {
    std::vector<std::string> texts;
    if (!read(key, texts)) return false;
    out.clear();
    for (const auto& text : texts) {
      if (auto value = parse(text)) {
        out.push_back(*std::move(value));
      } else {
        wrong(key, "\"" + text + "\" is not " + std::string{wants});
        return false;
      }
    }
    return true;
  }

  /// Reports an absent key; a present one of the wrong type was reported already.
  void require(std::string_view key, std::string_view meaning);
  /// A key that is read elsewhere: a section.
  void expect(std::string_view key) { known_.insert(std::string{key}); }
  /// Reports an error at the key's line (or the section's, if the key is absent).
  void wrong(std::string_view key, std::string_view what);
  /// Complains about keys that nobody asked for.
  void refuse_unknown();

 private:
  const toml::node* find(std::string_view key);
  [[nodiscard]] std::string full(std::string_view key) const;

  const toml::table* table_;
  std::string name_;
  TomlErrors& errors_;
  std::set<std::string> known_;
};

}  // namespace switchback::headend
