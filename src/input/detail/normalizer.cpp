#include "input/detail/normalizer.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>

#include "detail/error.h"
#include "input/detail/bert_normalizer.h"
#include "input/detail/pattern.h"
#include "input/detail/precompiled.h"
#include "input/detail/tokenizer_part.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxSteps = 100;
constexpr std::size_t kMaxInserted = 64;  // characters that one step inserts for one of the text
constexpr std::size_t kMaxGrowth = 64;    // characters for one of the text, in all

std::u32string read_inserted(const char* who, const Json& json, const char* key) {
  auto text = decode_utf8(who, get<std::string>(who, json, key));
  if (text.size() > kMaxInserted) {
    failure(who, "\"", key, "\" of a normalizer has ", text.size(), " characters, at most ", kMaxInserted,
            " are accepted");
  }
  return text;
}

/// Bytes where older files have been converted, base64 in a file.
std::string read_charsmap(const char* who, const Json& json) {
  const auto found = json.find("precompiled_charsmap");
  if (found == json.end() || !found->is_binary()) {
    return decode_base64(who, get<std::string>(who, json, "precompiled_charsmap"));
  }
  const auto& bytes = found->get_binary();
  return {bytes.begin(), bytes.end()};
}

/// The content stands for the last character of what it replaces.
void replace(Normalized& text, const Pattern& pattern, std::u32string_view content) {
  Normalized out;
  std::size_t done = 0;
  while (true) {
    const auto [begin, end] = pattern.find(text.chars, done);
    out.add(text, done, begin);
    if (begin == end) break;
    for (const char32_t c : content) out.add(c, text.spans[end - 1]);
    done = end;
  }
  text = std::move(out);
}

void strip(Normalized& text, bool left, bool right) {
  std::size_t begin = 0, end = text.size();
  while (left && begin < end && is_whitespace(text.chars[begin])) ++begin;
  while (right && begin < end && is_whitespace(text.chars[end - 1])) --end;
  Normalized out;
  out.add(text, begin, end);
  text = std::move(out);
}

/// What Google's neural translation did to control characters and kinds of white space.
void nmt(Normalized& text) {
  remove_chars(text, [](char32_t c) {
    return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  });
  map_chars(text, [](char32_t c) {
    const bool gap = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    return gap ? U' ' : c;
  });
}

const std::map<std::string, std::function<void(Normalized&)>>& plain_steps() {
  static const std::map<std::string, std::function<void(Normalized&)>> steps = {
      {"NFC", [](Normalized& text) { normal_form(text, {.composed = true, .compatible = false}); }},
      {"NFD", [](Normalized& text) { normal_form(text, {.composed = false, .compatible = false}); }},
      {"NFKC", [](Normalized& text) { normal_form(text, {.composed = true, .compatible = true}); }},
      {"NFKD", [](Normalized& text) { normal_form(text, {.composed = false, .compatible = true}); }},
      {"Lowercase", lower_case},
      {"StripAccents", [](Normalized& text) { remove_chars(text, is_mark); }},
      {"Nmt", nmt},
      {"ByteLevel", to_byte_alphabet}};
  return steps;
}

/// The visible character of each byte: its own where it has one, else one from U+0100.
std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> out{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    out[byte] = visible ? byte : next++;
  }
  return out;
}

}  // namespace

void to_byte_alphabet(Normalized& text) {
  static const std::array<char32_t, 256> alphabet = byte_alphabet();
  Normalized out;
  out.chars.reserve(text.size());
  out.spans.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text.chars[i];
    if (c < 0x80) {
      out.add(alphabet[c], text.spans[i]);
    } else {
      for (const char byte : encode_utf8({&c, 1})) out.add(alphabet[static_cast<unsigned char>(byte)], text.spans[i]);
    }
  }
  text = std::move(out);
}

std::string from_byte_alphabet(const std::string& token) {
  static const std::map<char32_t, char> bytes = [] {
    std::map<char32_t, char> out;
    const std::array<char32_t, 256> alphabet = byte_alphabet();
    for (std::size_t byte = 0; byte < alphabet.size(); ++byte) out[alphabet[byte]] = static_cast<char>(byte);
    return out;
  }();
  std::string out;
  for (const char32_t c : decode_utf8("Tokenizer::decode", token)) {
    const auto found = bytes.find(c);
    if (found == bytes.end()) return token;
    out += found->second;
  }
  return out;
}

Normalizer Normalizer::from_json(const char* who, const Json& json) {
  Normalizer normalizer;
  if (!json.is_null()) normalizer.add(who, json);
  return normalizer;
}

void Normalizer::add(const char* who, const Json& json) {
  const std::string type = part_type(who, json, "normalizer");
  if (type == "Sequence") {
    for (const Json& part : part_list(who, json, "normalizers")) add(who, part);
    return;
  }
  if (steps_.size() == kMaxSteps) failure(who, "the normalizer has more than ", kMaxSteps, " steps");
  steps_.push_back(read_step(who, json, type));
}

Normalizer::Step Normalizer::read_step(const char* who, const Json& json, const std::string& type) {
  if (const auto plain = plain_steps().find(type); plain != plain_steps().end()) return {type, plain->second};
  if (type == "BertNormalizer") {
    const auto bert = BertNormalizer::from_json(who, json);
    return {bert.describe(), bert};
  }
  if (type == "Strip") {
    const bool left = get<bool>(who, json, "strip_left"), right = get<bool>(who, json, "strip_right");
    return {type, [=](Normalized& text) { strip(text, left, right); }};
  }
  if (type == "Replace") {
    return {type,
            [pattern = Pattern::from_json(who, get<Json>(who, json, "pattern")),
             content = read_inserted(who, json, "content")](Normalized& text) { replace(text, pattern, content); }};
  }
  if (type == "Prepend") {
    // "first", only before the start of the text, and "longest" below are ours: older files need them.
    return {type, [prefix = read_inserted(who, json, "prepend"),
                   first = get_or<bool>(who, json, "first", false)](Normalized& text) {
              if (!text.empty() && (!first || text.spans[0].begin == 0)) prepend(text, prefix);
            }};
  }
  if (type == "Precompiled") {
    const bool longest = get_or<bool>(who, json, "longest", false);
    const auto map = std::make_shared<const Precompiled>(
        who, read_charsmap(who, json), longest ? Precompiled::Matching::kLongest : Precompiled::Matching::kGrapheme);
    return {type, [map](Normalized& text) { (*map)(text); }};
  }
  unsupported_part(who, "normalizer", type,
                   "BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, "
                   "Precompiled, Nmt, ByteLevel or a Sequence of them");
}

Normalized Normalizer::normalize(std::u32string_view text, std::int32_t first) const {
  Normalized out(text, first);
  for (const Step& step : steps_) {
    step.apply(out);
    if (out.size() > (text.size() + kMaxGrowth) * kMaxGrowth) {
      failure("Tokenizer::encode", "the normalizer makes ", out.size(), " characters of ", text.size(), ", at most ",
              kMaxGrowth, " for each are accepted");
    }
  }
  return out;
}

std::string Normalizer::describe() const {
  std::string text;
  for (const Step& step : steps_) text += (text.empty() ? "" : " + ") + step.name;
  return text.empty() ? "no normalizer" : text;
}

}  // namespace trine::detail
