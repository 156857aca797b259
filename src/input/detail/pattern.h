#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "detail/json.h"
#include "input/detail/word_pattern.h"

namespace trine::detail {

/// What "Replace" and "Split" of a tokenizer.json look for: a text, a run of characters of one class (`\s+`, ` {2,}`,
/// `[.,]`), or one of the well-known word patterns. Anything else is refused: no regular expression of a file is run.
class Pattern {
 public:
  struct Match {
    std::size_t begin, end;  ///< empty: there is none
  };

  /// `json`: {"String": ...} or {"Regex": ...}.
  static Pattern from_json(const char* who, const Json& json);

  /// Any pattern that a function gives.
  explicit Pattern(WordPattern words) : rule_(words) {}

  /// The first match at or after `from`.
  Match find(std::u32string_view text, std::size_t from) const;

 private:
  /// Characters that a class of a regular expression names.
  struct CharClass {
    std::vector<std::pair<char32_t, char32_t>> ranges;
    std::vector<bool (*)(char32_t)> properties;
    bool negated = false;

    bool has(char32_t c) const;
  };
  struct Run {
    CharClass of;
    std::size_t least = 1;
    bool greedy = false;  // false: exactly one
  };
  class Reader;

  Pattern() = default;
  std::size_t end_of_match(std::u32string_view text, std::size_t at) const;

  std::variant<std::u32string, Run, WordPattern> rule_;
};

}  // namespace trine::detail
