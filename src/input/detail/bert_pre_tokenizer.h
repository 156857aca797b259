#pragma once

#include <cstddef>
#include <string_view>

#include "detail/json.h"
#include "input/detail/unicode.h"

namespace trine::detail {

/// "BertPreTokenizer" of a tokenizer.json: words end at white space and at punctuation, which is a word by itself.
class BertPreTokenizer {
 public:
  static BertPreTokenizer from_json(const char* who, const Json& json);

  /// Calls `word(begin, end)` for each word of `text` in order, until one call returns false.
  template <typename Word>
  void split(std::u32string_view text, Word&& word) const {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool punctuation = is_punctuation(text[i]);
      if (!punctuation && !is_whitespace(text[i])) continue;
      if (begin < i && !word(begin, i)) return;
      if (punctuation && !word(i, i + 1)) return;
      begin = i + 1;
    }
    if (begin < text.size()) word(begin, text.size());
  }
};

}  // namespace trine::detail
