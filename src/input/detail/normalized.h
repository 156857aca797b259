#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trine::detail {

/// [begin, end) in code points of the original text.
struct Span {
  std::int32_t begin = 0, end = 0;
};

/// Text on its way to tokens, and for each of its characters the part of the original that it stands for.
struct Normalized {
  std::u32string chars;
  std::vector<Span> spans;

  Normalized() = default;
  /// A part of the original that starts at code point `first`.
  Normalized(std::u32string_view text, std::int32_t first);

  std::size_t size() const { return chars.size(); }
  bool empty() const { return chars.empty(); }

  void add(char32_t c, Span span) {
    chars += c;
    spans.push_back(span);
  }
  void add(const Normalized& other, std::size_t begin, std::size_t end) {
    chars.append(other.chars, begin, end - begin);
    spans.insert(spans.end(), other.spans.begin() + static_cast<std::ptrdiff_t>(begin),
                 other.spans.begin() + static_cast<std::ptrdiff_t>(end));
  }
};

/// One character of a new version of a text, and how many characters more than before there are with it: 0 where it
/// stands for one, 1 where it is inserted, -n where it stands for one and for the n that follow.
struct Change {
  char32_t c;
  std::ptrdiff_t more;
};

/// The new version; spans go by position, as in the reference: an inserted character takes that of the one before.
void transform(Normalized& text, std::span<const Change> changes);

/// Each character becomes what `map` makes of it.
void map_chars(Normalized& text, const std::function<char32_t(char32_t)>& map);

/// Without the characters that `drop` names.
void remove_chars(Normalized& text, const std::function<bool(char32_t)>& drop);

/// Puts `prefix` before `text`, which is not empty; it stands for the first character.
void prepend(Normalized& text, std::u32string_view prefix);

void lower_case(Normalized& text);

/// NFC, NFD, NFKC, NFKD of Unicode.
struct NormalForm {
  bool composed, compatible;
};
void normal_form(Normalized& text, NormalForm form);

}  // namespace trine::detail
