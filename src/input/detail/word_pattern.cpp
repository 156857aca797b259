#include "input/detail/word_pattern.h"

#include <array>
#include <limits>
#include <utility>

#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

bool is_break(char32_t c) { return c == '\r' || c == '\n'; }

/// [^\s\p{L}\p{N}]
bool is_sign(char32_t c) { return !is_whitespace(c) && !is_letter(c) && !is_number(c); }

/// The end of the run that starts at `at`, of at most `most` characters.
template <typename Class>
std::size_t run(std::u32string_view text, std::size_t at, Class&& is,
                std::size_t most = std::numeric_limits<std::size_t>::max()) {
  const std::size_t limit = most < text.size() - at ? at + most : text.size();
  while (at < limit && is(text[at])) ++at;
  return at;
}

/// 's|'t|'re|'ve|'m|'ll|'d
std::size_t contraction(std::u32string_view text, std::size_t at, bool any_case) {
  if (text[at] != '\'') return at;
  const auto folded = [&](std::size_t i) -> char32_t {
    const char32_t c = i < text.size() ? text[i] : 0;
    if (!any_case) return c;
    return c == 0x17F ? U's' : c >= 'A' && c <= 'Z' ? c + 32 : c;  // U+017F is a long s
  };
  for (const std::u32string_view ending : {U"s", U"t", U"re", U"ve", U"m", U"ll", U"d"}) {
    std::size_t length = 0;
    while (length < ending.size() && folded(at + 1 + length) == ending[length]) ++length;
    if (length == ending.size()) return at + 1 + length;
  }
  return at;
}

/// \s+(?!\S)|\s+ : the last space before a word is left for the word.
std::size_t spaces(std::u32string_view text, std::size_t at) {
  const std::size_t end = run(text, at, is_whitespace);
  return end == text.size() || end < at + 2 ? end : end - 1;
}

std::size_t clip_word(std::u32string_view text, std::size_t at) {
  if (const std::size_t end = contraction(text, at, false); end > at) return end;
  if (is_letter(text[at])) return run(text, at, is_letter);
  if (is_number(text[at])) return at + 1;
  return run(text, at, is_sign);
}

std::size_t clip_word_or_special(std::u32string_view text, std::size_t at) {
  for (const std::u32string_view special : {U"<|startoftext|>", U"<|endoftext|>"}) {
    if (text.substr(at, special.size()) == special) return at + special.size();
  }
  return clip_word(text, at);
}

/// The words of cl100k, Llama 3 and Qwen 2, which differ in how many digits stay together.
template <std::size_t kDigits>
std::size_t cl100k_word(std::u32string_view text, std::size_t at) {
  if (const std::size_t end = contraction(text, at, true); end > at) return end;
  const char32_t c = text[at];
  const bool letter = is_letter(c), number = is_number(c);
  const std::size_t word = letter || number || is_break(c) ? at : at + 1;
  if (word < text.size() && is_letter(text[word])) return run(text, word, is_letter);
  if (number) return run(text, at, is_number, kDigits);
  const std::size_t sign = at + (c == ' ');
  if (sign < text.size() && is_sign(text[sign])) return run(text, run(text, sign, is_sign), is_break);
  for (std::size_t end = run(text, at, is_whitespace); end > at; --end) {
    if (is_break(text[end - 1])) return end;
  }
  return spaces(text, at);
}

constexpr std::array<std::pair<std::string_view, WordPattern>, 5> kKnown = {{
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", gpt2_word},
    {R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)", clip_word},
    {R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)",
     clip_word_or_special},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     cl100k_word<3>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     cl100k_word<1>},
}};

}  // namespace

std::size_t gpt2_word(std::u32string_view text, std::size_t at) {
  if (const std::size_t end = contraction(text, at, false); end > at) return end;
  const std::size_t word = at + (text[at] == ' ');
  if (word < text.size() && !is_whitespace(text[word])) {
    if (is_letter(text[word])) return run(text, word, is_letter);
    if (is_number(text[word])) return run(text, word, is_number);
    return run(text, word, is_sign);
  }
  return spaces(text, at);
}

WordPattern find_word_pattern(std::string_view regex) {
  for (const auto& [pattern, function] : kKnown) {
    if (pattern == regex) return function;
  }
  return nullptr;
}

}  // namespace trine::detail
