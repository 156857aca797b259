#include "input/detail/pattern.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "detail/error.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxLength = 256;  // characters of a text to look for: bounds the work at each position

}  // namespace

bool Pattern::CharClass::has(char32_t c) const {
  const bool named = std::any_of(ranges.begin(), ranges.end(),
                                 [&](const auto& range) { return c >= range.first && c <= range.second; }) ||
                     std::any_of(properties.begin(), properties.end(), [&](auto property) { return property(c); });
  return named != negated;
}

/// Reads `class` or `class+` or `class{n,}`, where a class is a character, an escape or characters in brackets.
class Pattern::Reader {
 public:
  explicit Reader(std::u32string_view text) : text_(text) {}

  std::optional<Run> read() {
    Run run;
    if (!(take(U'[') ? read_brackets(run.of) : read_item(run.of))) return std::nullopt;
    if (take(U'+')) {
      run.greedy = true;
    } else if (take(U'{')) {
      run.greedy = true;
      run.least = 0;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && run.least < 1000) {
        run.least = run.least * 10 + (text_[at_++] - U'0');
      }
      if (run.least == 0 || !take(U',') || !take(U'}')) return std::nullopt;
    }
    return at_ == text_.size() ? std::optional(run) : std::nullopt;
  }

 private:
  bool take(char32_t c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool read_brackets(CharClass& out) {
    out.negated = take(U'^');
    if (take(U']')) return false;
    while (!take(U']')) {
      if (at_ == text_.size() || text_[at_] == '[' || text_.substr(at_, 2) == U"&&") return false;
      const std::size_t before = out.ranges.size();
      if (!read_item(out, true)) return false;
      const bool range = out.ranges.size() > before && text_.substr(at_, 1) == U"-" && text_.substr(at_, 2) != U"-]";
      if (!range) continue;
      ++at_;
      CharClass last;
      if (text_.substr(at_, 1) == U"[" || !read_item(last, true) || last.ranges.empty()) return false;
      out.ranges.back().second = last.ranges[0].first;
    }
    return true;
  }

  /// A character or an escape.
  bool read_item(CharClass& out, bool in_brackets = false) {
    if (at_ == text_.size()) return false;
    char32_t c = text_[at_++];
    if (c != '\\') {
      if (!in_brackets && std::u32string_view(U"()[]{}.*+?^$|").find(c) != std::u32string_view::npos) return false;
      out.ranges.emplace_back(c, c);
      return true;
    }
    if (at_ == text_.size()) return false;
    c = text_[at_++];
    constexpr std::pair<std::u32string_view, bool (*)(char32_t)> kProperties[] = {{U"p{L}", is_letter},
                                                                                  {U"p{N}", is_number}};
    if (c == 's') {
      out.properties.push_back(is_whitespace);
    } else if (c == 'n' || c == 'r' || c == 't') {
      const char32_t control = c == 'n' ? '\n' : c == 'r' ? '\r' : '\t';
      out.ranges.emplace_back(control, control);
    } else if (c == 'p') {
      for (const auto& [name, property] : kProperties) {
        if (text_.substr(at_ - 1, name.size()) != name) continue;
        at_ += name.size() - 1;
        out.properties.push_back(property);
        return true;
      }
      return false;
    } else if (is_word(c) || c >= 0x80) {
      return false;  // other escapes
    } else {
      out.ranges.emplace_back(c, c);
    }
    return true;
  }

  std::u32string_view text_;
  std::size_t at_ = 0;
};

Pattern Pattern::from_json(const char* who, const Json& json) {
  Pattern pattern;
  if (json.is_object() && json.contains("String")) {
    auto text = decode_utf8(who, get<std::string>(who, json, "String"));
    if (text.empty() || text.size() > kMaxLength) {
      failure(who, "a pattern has ", text.size(), " characters, 1 to ", kMaxLength, " are accepted");
    }
    pattern.rule_ = std::move(text);
    return pattern;
  }
  const auto regex = get<std::string>(who, json, "Regex");
  if (const WordPattern words = find_word_pattern(regex)) {
    pattern.rule_ = words;
  } else if (auto run = Reader(decode_utf8(who, regex)).read()) {
    pattern.rule_ = std::move(*run);
  } else {
    failure(who, "the pattern ", shown(regex),
            " is not supported; wanted one class of characters (\\s+, [.,]) or the words of GPT-2, CLIP, Llama 3 or "
            "Qwen 2");
  }
  return pattern;
}

std::size_t Pattern::end_of_match(std::u32string_view text, std::size_t at) const {
  if (const auto* wanted = std::get_if<std::u32string>(&rule_)) {
    return text.substr(at, wanted->size()) == *wanted ? at + wanted->size() : at;
  }
  if (const auto* words = std::get_if<WordPattern>(&rule_)) return (*words)(text, at);
  const Run& run = std::get<Run>(rule_);
  std::size_t end = at;
  while (end < text.size() && (run.greedy || end == at) && run.of.has(text[end])) ++end;
  return end;
}

Pattern::Match Pattern::find(std::u32string_view text, std::size_t from) const {
  const Run* run = std::get_if<Run>(&rule_);
  for (std::size_t at = from; at < text.size();) {
    const std::size_t end = end_of_match(text, at);
    if (end > at && (run == nullptr || end - at >= run->least)) return {at, end};
    at = std::max(end, at + 1);  // a run that is too short is passed at once
  }
  return {text.size(), text.size()};
}

}  // namespace trine::detail
