#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"
#include "input/detail/model.h"
#include "input/detail/normalizer.h"
#include "input/detail/trie.h"

namespace trine::detail {

/// "added_tokens" of a tokenizer.json: tokens that are found in the text before the model sees it.
class AddedTokens {
 public:
  struct Part {
    std::size_t begin, end;
    std::int32_t id;  ///< -1: text between added tokens
  };

  /// Tokens that are not in `vocabulary` yet are appended to it and have to have the ids that follow.
  static AddedTokens from_json(const char* who, const Json& json, const Normalizer& normalizer, Vocabulary& vocabulary);

  /// Cuts text as written at the tokens to be matched there.
  std::vector<Part> split_raw(std::u32string_view text) const { return split(text, raw_); }

  /// Cuts normalized text at the tokens that are normalized, too.
  std::vector<Part> split_normalized(std::u32string_view text) const { return split(text, normalized_); }

  std::size_t size() const { return rules_.size(); }

  /// Ids of those that carry no text ("special"), in order.
  std::vector<std::int32_t> special_ids() const;

 private:
  struct Rule {
    std::string content;
    std::int32_t id = 0;
    bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
  };
  static Rule read_rule(const char* who, const Json& json);
  std::vector<Part> split(std::u32string_view text, const Trie& patterns) const;

  std::vector<Rule> rules_;
  Trie raw_, normalized_;  // values are positions in rules_
};

}  // namespace trine::detail
