#include "input/detail/bert_normalizer.h"

#include <algorithm>

#include "input/detail/tokenizer_part.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

/// The blocks of Chinese characters as BERT defined them; later extensions are not among them.
bool is_chinese(char32_t c) {
  if (c < 0x3400) return false;
  return c <= 0x4DBF || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

/// Canonical decomposition of a stream of characters, then without nonspacing marks.
///
/// Spans go by position, as in the reference: within a run of marks that decomposition reorders, the first part of a
/// decomposed character takes the span of the next character of the input, the other parts that of the part before.
class AccentStripper {
 public:
  template <typename Sink>
  void put(char32_t c, Span span, Sink&& sink) {
    sources_.push_back(span);
    bool starts = true;
    for (const char32_t part : decompose(c)) {
      const int order = combining_class(part);
      if (order == 0) {
        flush(sink);
        emit({part, order, starts}, sink);
      } else {
        marks_.push_back({part, order, starts});
      }
      starts = false;
    }
  }

  /// Gives out the marks that wait for more of their sequence.
  template <typename Sink>
  void flush(Sink&& sink) {
    std::stable_sort(marks_.begin(), marks_.end(), [](const Part& a, const Part& b) { return a.order < b.order; });
    for (const Part& part : marks_) emit(part, sink);
    marks_.clear();
  }

 private:
  struct Part {
    char32_t c;
    int order;    // combining class
    bool starts;  // whether it is the first of its character
  };

  template <typename Sink>
  void emit(const Part& part, Sink&& sink) {
    if (part.starts) {
      span_ = sources_[used_++];
      if (used_ == sources_.size()) {
        sources_.clear();
        used_ = 0;
      }
    }
    if (!is_nonspacing_mark(part.c)) sink(part.c, span_);
  }

  std::vector<Part> marks_;
  std::vector<Span> sources_;  // the spans of characters whose first part has not been given out
  std::size_t used_ = 0;       // how many of them have
  Span span_;
};

}  // namespace

BertNormalizer BertNormalizer::from_json(const char* who, const Json& json) {
  BertNormalizer normalizer;
  if (json.is_null()) return normalizer;
  const std::string type = part_type(who, json, "normalizer");
  if (type != "BertNormalizer") unsupported_part(who, "normalizer", type, "BertNormalizer");
  normalizer.clean_text_ = get<bool>(who, json, "clean_text");
  normalizer.handle_chinese_chars_ = get<bool>(who, json, "handle_chinese_chars");
  normalizer.lowercase_ = get<bool>(who, json, "lowercase");
  normalizer.strip_accents_ = get_or<bool>(who, json, "strip_accents", normalizer.lowercase_);
  return normalizer;
}

Normalized BertNormalizer::normalize(std::u32string_view text, std::int32_t first) const {
  Normalized out;
  out.chars.reserve(text.size());
  out.spans.reserve(text.size());

  const auto lowered = [&](char32_t c, Span span) {
    if (!lowercase_) return out.add(c, span);
    for (const char32_t small : to_lower(c)) out.add(small, span);
  };
  AccentStripper stripper;
  const auto stripped = [&](char32_t c, Span span) {
    strip_accents_ ? stripper.put(c, span, lowered) : lowered(c, span);
  };

  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto at = first + static_cast<std::int32_t>(i);
    const Span span{at, at + 1};
    char32_t c = text[i];
    if (clean_text_ && (c < ' ' || c > '~')) {
      if (is_whitespace(c) && (!is_other(c) || c == '\t' || c == '\n' || c == '\r')) {
        c = ' ';
      } else if (c == 0xFFFD || is_other(c)) {
        continue;
      }
    }
    if (handle_chinese_chars_ && is_chinese(c)) {
      stripped(' ', span);
      stripped(c, span);
      stripped(' ', span);
    } else {
      stripped(c, span);
    }
  }
  stripper.flush(lowered);
  return out;
}

std::string BertNormalizer::describe() const {
  std::string steps;
  const auto add = [&](bool on, const char* name) {
    if (on) steps += (steps.empty() ? "" : ", ") + std::string(name);
  };
  add(clean_text_, "clean_text");
  add(handle_chinese_chars_, "handle_chinese_chars");
  add(strip_accents_, "strip_accents");
  add(lowercase_, "lowercase");
  return steps.empty() ? "no normalizer" : "BertNormalizer (" + steps + ")";
}

}  // namespace trine::detail
