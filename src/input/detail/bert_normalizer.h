#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"

namespace trine::detail {

/// [begin, end) in code points of the original text.
struct Span {
  std::int32_t begin = 0, end = 0;
};

/// Text on its way to tokens, and for each of its characters the part of the original that it stands for.
struct Normalized {
  std::u32string chars;
  std::vector<Span> spans;

  void add(char32_t c, Span span) {
    chars += c;
    spans.push_back(span);
  }
};

/// "BertNormalizer" of a tokenizer.json.
class BertNormalizer {
 public:
  /// `json`: the "normalizer" of the file; null leaves text as it is.
  static BertNormalizer from_json(const char* who, const Json& json);

  /// `text`: a part of the original that starts at code point `first`.
  Normalized normalize(std::u32string_view text, std::int32_t first) const;

  std::string describe() const;

 private:
  bool clean_text_ = false;
  bool handle_chinese_chars_ = false;
  bool strip_accents_ = false;
  bool lowercase_ = false;
};

}  // namespace trine::detail
