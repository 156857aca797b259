#pragma once

#include <cstddef>
#include <string_view>

namespace trine::detail {

/// One of the regular expressions that cut text into words in well-known checkpoints, written out by hand: linear time,
/// no backtracking. Returns the end of the match that starts at `at`, or `at` if none does.
using WordPattern = std::size_t (*)(std::u32string_view text, std::size_t at);

/// The words of GPT-2, which the pre-tokenizer "ByteLevel" uses, too.
std::size_t gpt2_word(std::u32string_view text, std::size_t at);

/// The pattern of a "Split" by its text; null if it is not one of those.
WordPattern find_word_pattern(std::string_view regex);

}  // namespace trine::detail
