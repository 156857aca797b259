#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "input/detail/normalized.h"
#include "input/detail/pattern.h"

namespace trine::detail {

/// Normalized text and the words it has been cut into; what is between them is gone.
struct Words {
  struct Word {
    std::size_t begin, end;  ///< characters of the text, never empty
  };

  Normalized text;
  std::vector<Word> words;

  std::u32string_view chars(const Word& word) const {
    return std::u32string_view(text.chars).substr(word.begin, word.end - word.begin);
  }
};

/// A part of a word, and whether it is what was looked for.
struct Part {
  std::size_t begin, end;
  bool found;
};

/// What becomes of the parts that were found: the names are those of a tokenizer.json.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Cuts every word; `find` covers a word from begin to end in order.
void split(Words& words, const std::function<void(std::u32string_view, std::vector<Part>&)>& find,
           SplitBehavior behavior);

/// At what `pattern` finds, or with `invert` at what is between.
void split(Words& words, const Pattern& pattern, bool invert, SplitBehavior behavior);

/// At each character that `is` names.
void split(Words& words, const std::function<bool(char32_t)>& is, SplitBehavior behavior);

}  // namespace trine::detail
