#include "headend/toml_reader.h"

#include <limits>

namespace switchback::headend {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string> closest(std::string_view word, const std::set<std::string>& known) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() > 64) return best;
  for (const auto& candidate : known) {
    if (const auto distance = edit_distance(word, candidate); distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

void TomlErrors::report(std::size_t line, std::string_view key, std::string_view what) {
  if (first_) return;
  std::string message = file_ + ":" + std::to_string(line) + ": ";
  if (!key.empty()) message += std::string{key} + ": ";
  first_ = UserError{message + std::string{what}};
}

std::string TomlSection::full(std::string_view key) const {
  return name_.empty() ? std::string{key} : name_ + "." + std::string{key};
}

const toml::node* TomlSection::find(std::string_view key) {
  known_.insert(std::string{key});
  return table_ == nullptr ? nullptr : table_->get(key);
}

void TomlSection::wrong(std::string_view key, std::string_view what) {
  const auto* node = table_ == nullptr ? nullptr : table_->get(key);
  const std::size_t line = node != nullptr     ? node->source().begin.line
                           : table_ != nullptr ? table_->source().begin.line
                                               : 1;
  errors_.report(line, full(key), what);
}

void TomlSection::require(std::string_view key, std::string_view meaning) {
  if (table_ == nullptr || !table_->contains(key)) wrong(key, "is missing: " + std::string{meaning});
}

bool TomlSection::read(std::string_view key, std::string& out) {
  const auto* node = find(key);
  if (node == nullptr) return false;
  if (const auto* value = node->as_string()) {
    out = value->get();
    return true;
  }
  wrong(key, "must be a text in quotes");
  return false;
}

bool TomlSection::read(std::string_view key, bool& out) {
  const auto* node = find(key);
  if (node == nullptr) return false;
  if (const auto* value = node->as_boolean()) {
    out = value->get();
    return true;
  }
  wrong(key, "must be true or false, without quotes");
  return false;
}

bool TomlSection::read_integer(std::string_view key, std::int64_t& out, std::int64_t least, std::int64_t most) {
  const auto* node = find(key);
  if (node == nullptr) return false;
  const auto* value = node->as_integer();
  if (value == nullptr || value->get() < least || value->get() > most) {
    wrong(key, "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return false;
  }
  out = value->get();
  return true;
}

bool TomlSection::read_number(std::string_view key, double& out, double least, double most) {
  const auto* node = find(key);
  if (node == nullptr) return false;
  const auto value = node->value<double>();
  if (!node->is_number() || !value || !(*value >= least && *value <= most)) {
    wrong(key, "must be a number from " + std::to_string(least) + " to " + std::to_string(most));
    return false;
  }
  out = *value;
  return true;
}

bool TomlSection::read(std::string_view key, std::vector<std::string>& out) {
  const auto* node = find(key);
  if (node == nullptr) return false;
  const auto* list = node->as_array();
  std::vector<std::string> texts;
  if (list != nullptr) {
    for (const auto& element : *list) {
      const auto* text = element.as_string();
      if (text == nullptr) {
        list = nullptr;
        break;
      }
      texts.push_back(text->get());
    }
  }
  if (list == nullptr) {
    wrong(key, "must be a list of texts: [\"…\", \"…\"]");
    return false;
  }
  if (texts.size() > 256) {
    wrong(key, "has more than 256 entries");
    return false;
  }
  out = std::move(texts);
  return true;
}

void TomlSection::refuse_unknown() {
  if (table_ == nullptr) return;
  for (const auto& [key, node] : *table_) {
    if (known_.count(std::string{key.str()}) != 0) continue;
    std::string what = "unknown key";
    if (const auto suggestion = closest(key.str(), known_)) {
      what += "; did you mean \"" + *suggestion + "\"?";
    } else {
      what += ": remove it";
    }
    errors_.report(key.source().begin.line, full(key.str()), what);
  }
}

}  // namespace switchback::headend
