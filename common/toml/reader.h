// Reading the TOML files that people write, strictly: typed values in their ranges, no key that means nothing. Every
// error is one sentence with file, line, key and remedy. The profile and the headend's configuration are read by this.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"

namespace switchback::toml {

/// Larger files are refused before they are parsed.
inline constexpr std::size_t kMaxFileOctets = std::size_t{1} << 20U;
/// Most entries of any list.
inline constexpr std::size_t kMaxListEntries = 256;

/// Where the keys of a file stand. Outlives the reading, for faults that are found later: a PEM text, a proposal.
struct KeyLines {
  std::string file;
  std::map<std::string, unsigned, std::less<>> lines;  // "tunnel.mtu" → 17, and "tunnel" → 15

  /// "alice.toml:17: tunnel.mtu: WHAT"; the line is the section's if the key is absent.
  [[nodiscard]] UserError error_at(std::string_view key, std::string_view what) const;
};

/// A value from the file as it may stand in a message: in quotes, printable and short.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// What a text may be.
struct TextRule {
  std::string_view example = "\"…\"";  // as in TOML, with its quotes; for messages
  std::size_t longest = 256;           // octets
  bool required = false;               // its absence is an error
  bool may_be_empty = false;
};

struct DocumentState;

/// One [section], or the keys above the first. The reads leave `out` alone and give false if the key is absent or
/// wrong; what is wrong is reported to the document. Borrows the document.
class Section {
 public:
  [[nodiscard]] bool present() const;
  [[nodiscard]] bool has(std::string_view key) const;

  bool read(std::string_view key, std::string& out, const TextRule& rule);
  bool read(std::string_view key, bool& out);
  bool read(std::string_view key, double& out, double least, double most);
  template <std::integral Number>
  bool read(std::string_view key, Number& out, std::int64_t least, std::int64_t most) {
    const auto value = integer(key, least, most);
    if (value) out = static_cast<Number>(*value);
    return value.has_value();
  }
  /// A list of texts, none of them empty. @param example  the list as in TOML
  bool read(std::string_view key, std::vector<std::string>& out, std::string_view example);
  /// The same, each text turned into a T by `parse`, which gives an optional. @param wanted  "an IP address"
  template <class T, class Parse>
  bool read(std::string_view key, std::vector<T>& out, std::string_view example, std::string_view wanted, Parse parse) {
    std::vector<std::string> texts;
    if (!read(key, texts, example)) return false;
    std::vector<T> values;
    for (const auto& text : texts) {
      auto value = parse(text);
      if (!value) {
        wrong(key, in_quotes(text) + " is not " + std::string{wanted});
        return false;
      }
      values.push_back(*std::move(value));
    }
    out = std::move(values);
    return true;
  }

  /// A list of distinct whole numbers in [least, most], at least one and at most `longest` of them.
  bool read(std::string_view key, std::vector<std::uint16_t>& out, std::uint16_t least, std::uint16_t most,
            std::size_t longest);

  /// Reports that a key must be given.
  void missing(std::string_view key, std::string_view example);
  void wrong(std::string_view key, std::string_view what);

 private:
  friend class Document;
  Section(DocumentState& document, std::string name) : document_{document}, name_{std::move(name)} {}
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most);

  DocumentState& document_;
  std::string name_;
};

/// A parsed file. Keeps the first error; the later ones are often its consequences.
class Document {
 public:
  /// @param file  only for messages. Errors: too large, not TOML.
  [[nodiscard]] static Result<Document, UserError> parse(std::string_view text, std::string_view file);
  Document(Document&&) noexcept;
  Document& operator=(Document&&) noexcept;
  ~Document();

  /// The keys above the first section, and the names of the sections. Keys that are not `known` are an error, with the
  /// nearest known one suggested: so in section() too.
  [[nodiscard]] Section top(std::initializer_list<std::string_view> known);
  /// An absent section reads as an empty one, and is an error if it is `required`.
  [[nodiscard]] Section section(std::string_view name, std::initializer_list<std::string_view> known,
                                bool required = false);

  [[nodiscard]] const std::optional<UserError>& error() const noexcept;
  [[nodiscard]] const KeyLines& lines() const noexcept;

 private:
  explicit Document(std::unique_ptr<DocumentState> state);
  std::unique_ptr<DocumentState> state_;
};

}  // namespace switchback::toml
