#include "input/detail/pre_tokenizer.h"

#include <utility>

#include "detail/error.h"
#include "input/detail/normalizer.h"
#include "input/detail/tokenizer_part.h"
#include "input/detail/unicode.h"
#include "input/detail/word_pattern.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxSteps = 100;

/// Rewrites every word by itself.
void edit(Words& words, const std::function<void(Normalized&)>& change) {
  Words out;
  out.words.reserve(words.words.size());
  Normalized word;
  for (const auto& [begin, end] : words.words) {
    word.chars.clear();
    word.spans.clear();
    word.add(words.text, begin, end);
    change(word);
    const std::size_t first = out.text.size();
    out.text.add(word, 0, word.size());
    out.words.push_back({first, out.text.size()});
  }
  words = std::move(out);
}

SplitBehavior read_behavior(const char* who, const Json& json) {
  const auto name = get_or<std::string>(who, json, "behavior", "Isolated");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  failure(who, "the behavior ", shown(name),
          " is not supported; wanted Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

char32_t read_char(const char* who, const Json& json, const char* key) {
  const auto text = decode_utf8(who, get<std::string>(who, json, key));
  if (text.size() != 1) failure(who, "\"", key, "\" is not one character but ", text.size());
  return text[0];
}

struct ByteLevel {
  bool add_prefix_space, use_regex;

  void operator()(Words& words) const {
    if (add_prefix_space) {
      edit(words, [](Normalized& word) {
        if (word.chars[0] != ' ') prepend(word, U" ");
      });
    }
    static const Pattern gpt2(gpt2_word);
    if (use_regex) split(words, gpt2, false, SplitBehavior::kIsolated);
    edit(words, to_byte_alphabet);
  }
};

struct Metaspace {
  enum class Prepend { kNever, kFirst, kAlways };
  char32_t replacement;
  Prepend prepend_scheme;
  bool cut;

  static Metaspace from_json(const char* who, const Json& json) {
    const auto scheme = get_or<std::string>(who, json, "prepend_scheme", "");
    const bool prefix = get_or<bool>(who, json, "add_prefix_space", true);
    if (!scheme.empty() && scheme != "always" && scheme != "first" && scheme != "never") {
      failure(who, "the prepend_scheme ", shown(scheme), " is not supported; wanted always, first or never");
    }
    if (!prefix && !scheme.empty() && scheme != "never") {
      failure(who, "add_prefix_space is false, but the prepend_scheme is ", shown(scheme));
    }
    return {.replacement = read_char(who, json, "replacement"),
            .prepend_scheme = !prefix || scheme == "never" ? Prepend::kNever
                              : scheme == "first"          ? Prepend::kFirst
                                                           : Prepend::kAlways,
            .cut = get_or<bool>(who, json, "split", true)};
  }

  void operator()(Words& words) const {
    edit(words, [this](Normalized& word) {
      map_chars(word, [this](char32_t c) { return c == ' ' ? replacement : c; });
      const bool wanted =
          prepend_scheme == Prepend::kAlways || (prepend_scheme == Prepend::kFirst && word.spans[0].begin == 0);
      if (wanted && word.chars[0] != replacement) prepend(word, {&replacement, 1});
    });
    if (!cut) return;
    split(
        words, [this](char32_t c) { return c == replacement; }, SplitBehavior::kMergedWithNext);
  }
};

/// \w+|[^\w\s]+
std::size_t whitespace_word(std::u32string_view text, std::size_t at) {
  const auto kind = [](char32_t c) { return is_word(c) ? 2 : is_whitespace(c) ? 0 : 1; };
  const int first = kind(text[at]);
  if (first == 0) return at;
  while (at < text.size() && kind(text[at]) == first) ++at;
  return at;
}

}  // namespace

PreTokenizer PreTokenizer::from_json(const char* who, const Json& json) {
  PreTokenizer pre_tokenizer;
  if (!json.is_null()) pre_tokenizer.add(who, json);
  return pre_tokenizer;
}

void PreTokenizer::add(const char* who, const Json& json) {
  const std::string type = part_type(who, json, "pre-tokenizer");
  if (type == "Sequence") {
    for (const Json& part : part_list(who, json, "pretokenizers")) add(who, part);
    return;
  }
  if (steps_.size() == kMaxSteps) failure(who, "the pre-tokenizer has more than ", kMaxSteps, " steps");
  steps_.push_back(read_step(who, json, type));
}

PreTokenizer::Step PreTokenizer::read_step(const char* who, const Json& json, const std::string& type) {
  const auto at_chars = [&](std::function<bool(char32_t)> is, SplitBehavior behavior) -> Step {
    return {type, [=](Words& words) { split(words, is, behavior); }};
  };
  if (type == "BertPreTokenizer") {
    return {type, [](Words& words) {
              split(words, is_whitespace, SplitBehavior::kRemoved);
              split(words, is_punctuation, SplitBehavior::kIsolated);
            }};
  }
  if (type == "ByteLevel") {
    return {type, ByteLevel{.add_prefix_space = get<bool>(who, json, "add_prefix_space"),
                            .use_regex = get_or<bool>(who, json, "use_regex", true)}};
  }
  if (type == "Metaspace") return {type, Metaspace::from_json(who, json)};
  if (type == "Whitespace") {
    return {type, [pattern = Pattern(whitespace_word)](Words& words) {
              split(words, pattern, true, SplitBehavior::kRemoved);
            }};
  }
  if (type == "WhitespaceSplit") return at_chars(is_whitespace, SplitBehavior::kRemoved);
  if (type == "Punctuation") return at_chars(is_punctuation, read_behavior(who, json));
  if (type == "Digits") {
    const bool single = get<bool>(who, json, "individual_digits");
    return at_chars(is_numeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "CharDelimiterSplit") {
    const char32_t delimiter = read_char(who, json, "delimiter");
    return at_chars([=](char32_t c) { return c == delimiter; }, SplitBehavior::kRemoved);
  }
  if (type == "Split") {
    return {type, [pattern = Pattern::from_json(who, get<Json>(who, json, "pattern")),
                   invert = get<bool>(who, json, "invert"),
                   behavior = read_behavior(who, json)](Words& words) { split(words, pattern, invert, behavior); }};
  }
  unsupported_part(who, "pre-tokenizer", type,
                   "BertPreTokenizer, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, Punctuation, Digits, "
                   "CharDelimiterSplit, Split or a Sequence of them");
}

void PreTokenizer::operator()(Words& words) const {
  for (const Step& step : steps_) step.apply(words);
}

std::string PreTokenizer::describe() const {
  std::string text;
  for (const Step& step : steps_) text += (text.empty() ? "" : " + ") + step.name;
  return text.empty() ? "no pre-tokenizer" : text;
}

}  // namespace trine::detail
