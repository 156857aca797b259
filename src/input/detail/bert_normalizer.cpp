#include "input/detail/bert_normalizer.h"

#include <vector>

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

/// Line ends and tabs are white space here; other control characters go, even those that are white space elsewhere.
void clean(Normalized& text) {
  const auto is_gap = [](char32_t c) { return c == '\t' || c == '\n' || c == '\r'; };
  remove_chars(text, [&](char32_t c) { return c == 0xFFFD || (!is_gap(c) && is_other(c)); });
  map_chars(text, [](char32_t c) { return is_whitespace(c) ? U' ' : c; });
}

void surround_chinese(Normalized& text) {
  std::vector<Change> changes;
  changes.reserve(text.size());
  for (const char32_t c : text.chars) {
    if (is_chinese(c)) {
      changes.insert(changes.end(), {{U' ', 0}, {c, 1}, {U' ', 1}});
    } else {
      changes.push_back({c, 0});
    }
  }
  transform(text, changes);
}

}  // namespace

BertNormalizer BertNormalizer::from_json(const char* who, const Json& json) {
  BertNormalizer normalizer;
  normalizer.clean_text_ = get<bool>(who, json, "clean_text");
  normalizer.handle_chinese_chars_ = get<bool>(who, json, "handle_chinese_chars");
  normalizer.lowercase_ = get<bool>(who, json, "lowercase");
  normalizer.strip_accents_ = get_or<bool>(who, json, "strip_accents", normalizer.lowercase_);
  return normalizer;
}

void BertNormalizer::operator()(Normalized& text) const {
  if (clean_text_) clean(text);
  if (handle_chinese_chars_) surround_chinese(text);
  if (strip_accents_) {
    normal_form(text, {.composed = false, .compatible = false});
    remove_chars(text, is_nonspacing_mark);
  }
  if (lowercase_) lower_case(text);
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
  return "BertNormalizer (" + steps + ")";
}

}  // namespace trine::detail
