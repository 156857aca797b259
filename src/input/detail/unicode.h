#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace trine::detail {

/// UTF-8 as code points; text that is not valid (overlong, surrogates, above U+10FFFF, cut off) is
/// std::invalid_argument and names the byte.
std::u32string decode_utf8(const char* who, std::string_view text);

/// Code points as UTF-8.
std::string encode_utf8(std::u32string_view text);

/// At most four code points, what one can become.
class FewChars {
 public:
  FewChars(char32_t only) : chars_{only}, size_(1) {}
  explicit FewChars(std::span<const char32_t> chars);

  const char32_t* begin() const { return chars_.data(); }
  const char32_t* end() const { return chars_.data() + size_; }

 private:
  std::array<char32_t, 4> chars_{};
  std::size_t size_;
};

// Properties as the Hugging Face `tokenizers` library (0.23) sees them. It mixes Unicode versions: categories are of
// Unicode 8, decompositions and combining classes of 9, lower case and word characters of 17. We take them from
// utf8proc and correct the code points where that differs; golden/text/unicode.json holds what the library answers for
// each.

bool is_whitespace(char32_t c);       ///< White_Space
bool is_other(char32_t c);            ///< control, format, private use
bool is_punctuation(char32_t c);      ///< any P category, and all ASCII that is not a letter, digit, space or control
bool is_nonspacing_mark(char32_t c);  ///< category Mn
bool is_word(char32_t c);             ///< \w of a regular expression: letters, marks, digits, connectors, joiners
int combining_class(char32_t c);      ///< 0 for a character that starts a sequence
FewChars to_lower(char32_t c);        ///< full mapping of one character, without context
FewChars decompose(char32_t c);       ///< full canonical decomposition, not reordered

}  // namespace trine::detail
