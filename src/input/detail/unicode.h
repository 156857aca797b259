#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace trine::detail {

/// UTF-8 as code points; text that is not valid (overlong, surrogates, above U+10FFFF, cut off) is
/// std::invalid_argument and names the byte.
std::u32string decode_utf8(const char* who, std::string_view text);

/// Code points as UTF-8.
std::string encode_utf8(std::u32string_view text);

/// Bytes as UTF-8: U+FFFD for each longest beginning of a character that does not go on, and for each byte that begins
/// none.
std::string replace_invalid_utf8(std::string_view bytes);

/// Bytes of one code point in UTF-8.
constexpr std::size_t utf8_size(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

/// What one code point becomes: a few of them.
class Parts {
 public:
  static constexpr std::size_t kMost = 18;  ///< the decomposition of U+FDFA

  Parts(char32_t only) : chars_{only}, size_(1) {}
  explicit Parts(std::span<const std::int32_t> chars) : size_(chars.size()) {
    std::copy(chars.begin(), chars.end(), chars_.begin());
  }

  const char32_t* begin() const { return chars_.data(); }
  const char32_t* end() const { return chars_.data() + size_; }

 private:
  std::array<char32_t, kMost> chars_{};
  std::size_t size_;
};

// Properties as the Hugging Face `tokenizers` library (0.22, 0.23) sees them. It mixes Unicode versions: categories are
// of Unicode 8, decompositions, marks and combining classes of 9, letters and numbers of patterns of 16, lower case,
// numerics and word characters of 17. We take them from utf8proc and correct the code points where that differs;
// golden/text/unicode.json holds what the library answers for each.

bool is_whitespace(char32_t c);       ///< White_Space
bool is_other(char32_t c);            ///< control, format, private use
bool is_punctuation(char32_t c);      ///< any P category, and all ASCII that is not a letter, digit, space or control
bool is_nonspacing_mark(char32_t c);  ///< category Mn
bool is_mark(char32_t c);             ///< any M category
bool is_letter(char32_t c);           ///< \p{L} of a pattern
bool is_number(char32_t c);           ///< \p{N} of a pattern
bool is_numeric(char32_t c);          ///< the same for the Digits pre-tokenizer
bool is_word(char32_t c);             ///< \w of a regular expression: letters, marks, digits, connectors, joiners
int combining_class(char32_t c);      ///< 0 for a character that starts a sequence
Parts to_lower(char32_t c);           ///< full mapping of one character, without context

/// Full canonical (or compatibility) decomposition, not reordered.
Parts decompose(char32_t c, bool compatible = false);

/// The character that canonically decomposes into both, or 0.
char32_t compose(char32_t first, char32_t second);

/// Whether a grapheme ends between two neighbours; `state` is 0 at the start of a grapheme.
bool starts_grapheme(char32_t before, char32_t c, std::int32_t& state);

}  // namespace trine::detail
