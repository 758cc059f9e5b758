#include "common/toml/reader.h"

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

namespace switchback::toml {

struct DocumentState {
  ::toml::table root;
  KeyLines where;
  std::optional<UserError> error;

  /// @param key  dotted
  void report(std::string_view key, std::string_view what) {
    if (!error) error = where.error_at(key, what);
  }
};

namespace {

constexpr std::size_t kLongestQuote = 60;

/// TOML can write any character into a key or a text; a message is one line for a terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongestQuote)) out += c >= ' ' && c <= '~' ? c : '?';
  if (text.size() > kLongestQuote) out += "…";
  return out;
}

/// Levenshtein's distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto substituted = diagonal + (a[i] == b[j] ? 0U : 1U);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string full(std::string_view section, std::string_view key) {
  return section.empty() ? std::string{key} : std::string{section} + "." + std::string{key};
}

const ::toml::table* table_of(const DocumentState& document, std::string_view section) {
  if (section.empty()) return &document.root;
  const auto* node = document.root.get(section);
  return node == nullptr ? nullptr : node->as_table();
}

const ::toml::node* find(const DocumentState& document, std::string_view section, std::string_view key) {
  const auto* table = table_of(document, section);
  return table == nullptr ? nullptr : table->get(key);
}

std::string no_such_key(std::string_view section, std::string_view key, std::initializer_list<std::string_view> known) {
  const std::string what = "there is no such key: ";
  const auto nearest = *std::min_element(known.begin(), known.end(),
                                         [&](auto a, auto b) { return distance(a, key) < distance(b, key); });
  if (distance(nearest, key) <= std::max<std::size_t>(2, nearest.size() / 3)) {
    return what + "did you mean " + std::string{nearest} + "?";
  }
  std::string list;
  for (const auto name : known) list += (list.empty() ? "" : ", ") + std::string{name};
  return what + (section.empty() ? "known at the top level are " : "known in [" + std::string{section} + "] are ") +
         list;
}

/// Notes where the keys are and refuses those that do not exist.
void enter(DocumentState& document, std::string_view section, std::initializer_list<std::string_view> known) {
  const auto* table = table_of(document, section);
  if (table == nullptr) return;
  if (!section.empty()) document.where.lines.try_emplace(std::string{section}, table->source().begin.line);
  for (const auto& [key, node] : *table) {
    const auto line = key.source().begin.line != 0 ? key.source().begin.line : node.source().begin.line;
    document.where.lines.insert_or_assign(full(section, key.str()), static_cast<unsigned>(line));
    if (document.error || std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
    document.report(full(section, key.str()), no_such_key(section, key.str(), known));
  }
}

}  // namespace

UserError KeyLines::error_at(std::string_view key, std::string_view what) const {
  auto found = lines.find(key);
  if (found == lines.end()) found = lines.find(key.substr(0, key.find('.')));
  auto message = file;
  if (found != lines.end()) message += ":" + std::to_string(found->second);
  return UserError{message + ": " + printable(key) + ": " + std::string{what}};
}

std::string in_quotes(std::string_view text) { return "\"" + printable(text) + "\""; }

bool Section::present() const { return table_of(document_, name_) != nullptr; }

bool Section::has(std::string_view key) const { return find(document_, name_, key) != nullptr; }

void Section::wrong(std::string_view key, std::string_view what) { document_.report(full(name_, key), what); }

void Section::missing(std::string_view key, std::string_view example) {
  std::string what = "is missing: add it";
  if (!name_.empty()) what += " to [" + name_ + "]";
  wrong(key, what + ", for example " + std::string{key} + " = " + std::string{example});
}

bool Section::read(std::string_view key, std::string& out, const TextRule& rule) {
  const auto* node = find(document_, name_, key);
  if (node == nullptr) {
    if (rule.required) missing(key, rule.example);
    return false;
  }
  const auto* value = node->as_string();
  if (value == nullptr) {
    wrong(key, "must be a text in quotes, for example " + std::string{rule.example});
    return false;
  }
  if (value->get().empty() && !rule.may_be_empty) {
    wrong(key, "is empty: give a value, for example " + std::string{rule.example});
    return false;
  }
  if (value->get().size() > rule.longest) {
    wrong(key, "is longer than " + std::to_string(rule.longest) + " octets: shorten it");
    return false;
  }
  out = value->get();
  return true;
}

bool Section::read(std::string_view key, bool& out) {
  const auto* node = find(document_, name_, key);
  if (node == nullptr) return false;
  const auto* value = node->as_boolean();
  if (value == nullptr) {
    wrong(key, "must be true or false, without quotes");
    return false;
  }
  out = value->get();
  return true;
}

bool Section::read(std::string_view key, double& out, double least, double most) {
  const auto* node = find(document_, name_, key);
  if (node == nullptr) return false;
  const auto value = node->is_number() ? node->value<double>() : std::nullopt;
  if (!value || !(*value >= least && *value <= most)) {  // so written that NaN is out of range
    std::array<char, 96> what{};
    std::snprintf(what.data(), what.size(), "must be a number from %.15g to %.15g, without quotes", least, most);
    wrong(key, what.data());
    return false;
  }
  out = *value;
  return true;
}

std::optional<std::int64_t> Section::integer(std::string_view key, std::int64_t least, std::int64_t most) {
  const auto* node = find(document_, name_, key);
  if (node == nullptr) return std::nullopt;
  const auto* value = node->as_integer();
  if (value == nullptr || value->get() < least || value->get() > most) {
    wrong(key,
          "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most) + ", without quotes");
    return std::nullopt;
  }
  return value->get();
}

bool Section::read(std::string_view key, std::vector<std::string>& out, std::string_view example) {
  const auto* node = find(document_, name_, key);
  if (node == nullptr) return false;
  const auto wrong_type = [&] {
    wrong(key, "must be a list of texts, for example " + std::string{example});
    return false;
  };
  const auto* list = node->as_array();
  if (list == nullptr) return wrong_type();
  if (list->size() > kMaxListEntries) {
    wrong(key, "has more than " + std::to_string(kMaxListEntries) + " entries: shorten it");
    return false;
  }
  std::vector<std::string> texts;
  for (const auto& entry : *list) {
    const auto* text = entry.as_string();
    if (text == nullptr || text->get().empty()) return wrong_type();
    texts.push_back(text->get());
  }
  out = std::move(texts);
  return true;
}

bool Section::read(std::string_view key, std::vector<std::uint16_t>& out, std::uint16_t least, std::uint16_t most,
                   std::size_t longest) {
  const auto* node = find(document_, name_, key);
  if (node == nullptr) return false;
  const auto refuse = [&](const std::string& what) {
    wrong(key, what);
    return false;
  };
  const auto* list = node->as_array();
  std::vector<std::uint16_t> numbers;
  if (list != nullptr) {
    if (list->empty()) return refuse("is empty: name at least one, or remove the key for the default");
    if (list->size() > longest) return refuse("has more than " + std::to_string(longest) + " entries: shorten it");
    for (const auto& entry : *list) {
      const auto* number = entry.as_integer();
      if (number == nullptr || number->get() < least || number->get() > most) break;
      numbers.push_back(static_cast<std::uint16_t>(number->get()));
    }
  }
  if (list == nullptr || numbers.size() != list->size()) {
    return refuse("must be a list of whole numbers from " + std::to_string(least) + " to " + std::to_string(most) +
                  ", for example [" + std::to_string(least) + "]");
  }
  for (auto number = numbers.begin(); number != numbers.end(); ++number) {
    if (std::find(numbers.begin(), number, *number) != number) {
      return refuse(std::to_string(*number) + " stands there twice: name each once");
    }
  }
  out = std::move(numbers);
  return true;
}

Document::Document(std::unique_ptr<DocumentState> state) : state_{std::move(state)} {}
Document::Document(Document&&) noexcept = default;
Document& Document::operator=(Document&&) noexcept = default;
Document::~Document() = default;

Result<Document, UserError> Document::parse(std::string_view text, std::string_view file) {
  auto state = std::make_unique<DocumentState>();
  state->where.file = file;
  if (text.size() > kMaxFileOctets) return fail_user(state->where.file + ": is larger than 1 MiB: shorten it");
  try {
    state->root = ::toml::parse(text, file);
  } catch (const ::toml::parse_error& error) {
    // The library's description may quote the text around the fault.
    std::string what;
    for (const char c : error.description().substr(0, 200)) what += c >= ' ' && c <= '~' ? c : ' ';
    return fail_user(state->where.file + ":" + std::to_string(error.source().begin.line) + ": is not TOML (" + what +
                     "): correct this line");
  }
  return Document{std::move(state)};
}

Section Document::top(std::initializer_list<std::string_view> known) {
  enter(*state_, "", known);
  return Section{*state_, ""};
}

Section Document::section(std::string_view name, std::initializer_list<std::string_view> known, bool required) {
  const auto* node = state_->root.get(name);
  if (node == nullptr) {
    if (required) state_->report(name, "this section is missing: add [" + std::string{name} + "]");
  } else if (!node->is_table()) {
    state_->report(name, "must be a section: write [" + std::string{name} + "] on a line of its own");
  } else {
    enter(*state_, name, known);
  }
  return Section{*state_, std::string{name}};
}

const std::optional<UserError>& Document::error() const noexcept { return state_->error; }
const KeyLines& Document::lines() const noexcept { return state_->where; }

}  // namespace switchback::toml
