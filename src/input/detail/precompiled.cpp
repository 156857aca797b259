#include "input/detail/precompiled.h"

#include <array>
#include <cstring>

#include "detail/error.h"
#include "detail/json.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

// One unit of the double array (darts-clone).
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t value(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset(std::uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

/// Characters that are inserted follow those that replace one; of fewer than before, the last one stands for the rest.
void replace(std::vector<Change>& changes, std::size_t old_size, std::u32string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) changes.push_back({text[i], i < old_size ? 0 : 1});
  if (text.size() < old_size && !changes.empty()) {
    changes.back().more -= static_cast<std::ptrdiff_t>(old_size - text.size());
  }
}

}  // namespace

Precompiled::Precompiled(const char* who, std::string_view charsmap, Matching matching) : matching_(matching) {
  std::uint32_t bytes = 0;
  if (charsmap.size() >= 4) std::memcpy(&bytes, charsmap.data(), 4);
  if (charsmap.size() < 4 || bytes == 0 || bytes % 4 != 0 || bytes > charsmap.size() - 4) {
    failure(who, "the precompiled_charsmap has ", charsmap.size(), " bytes and says that ", bytes, " are its trie");
  }
  units_.resize(bytes / 4);
  std::memcpy(units_.data(), charsmap.data() + 4, bytes);
  texts_ = charsmap.substr(4 + bytes);
  try {
    decode_utf8(who, texts_);
  } catch (const std::invalid_argument&) {
    failure(who, "the texts of the precompiled_charsmap are not valid UTF-8");
  }
}

/// What the start of `key` becomes: the shortest entry, or the longest one.
std::optional<Precompiled::Found> Precompiled::find(std::u32string_view key) const {
  std::optional<Found> found;
  std::size_t node = offset(units_[0]);
  for (std::size_t i = 0; i < key.size(); ++i) {
    for (const char c : encode_utf8(key.substr(i, 1))) {
      const auto byte = static_cast<unsigned char>(c);
      node ^= byte;
      if (byte == 0 || node >= units_.size() || label(units_[node]) != byte) return found;
      const std::uint32_t unit = units_[node];
      node ^= offset(unit);
      if (!has_leaf(unit)) continue;
      if (node >= units_.size() || value(units_[node]) >= texts_.size()) return found;
      const char* text = texts_.c_str() + value(units_[node]);
      if ((*text & 0xC0) == 0x80) return found;  // in the middle of a character
      found = {decode_utf8("Tokenizer::encode", text), i + 1};
      if (matching_ == Matching::kGrapheme) return found;
    }
  }
  return found;
}

std::vector<Change> Precompiled::by_grapheme(std::u32string_view text) const {
  std::vector<Change> changes;
  changes.reserve(text.size());
  const auto replaced = [&](std::u32string_view part) {
    const auto found = find(part);
    if (found) replace(changes, part.size(), found->text);
    return found.has_value();
  };
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin + 1;
    for (std::int32_t state = 0; end < text.size() && !starts_grapheme(text[end - 1], text[end], state);) ++end;
    const auto grapheme = text.substr(begin, end - begin);
    if (grapheme.size() >= 6 || encode_utf8(grapheme).size() >= 6 || !replaced(grapheme)) {
      for (const char32_t& c : grapheme) {
        if (!replaced({&c, 1})) changes.push_back({c, 0});
      }
    }
    begin = end;
  }
  return changes;
}

std::vector<Change> Precompiled::by_longest(std::u32string_view text) const {
  std::vector<Change> changes;
  changes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto found = find(text.substr(at));
    if (found) {
      replace(changes, found->length, found->text);
      at += found->length;
    } else {
      changes.push_back({text[at++], 0});
    }
  }
  return changes;
}

void Precompiled::operator()(Normalized& text) const {
  transform(text, matching_ == Matching::kGrapheme ? by_grapheme(text.chars) : by_longest(text.chars));
}

std::string decode_base64(const char* who, std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<std::int8_t, 256> digit{};
  digit.fill(-1);
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    digit[static_cast<unsigned char>(kDigits[i])] = static_cast<std::int8_t>(i);
  }
  const std::size_t digits = text.find_last_not_of('=') + 1;
  if (text.size() % 4 != 0 || text.size() - digits > 2) failure(who, "base64 text ends in the middle");
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, digits)) {
    const std::int8_t value = digit[static_cast<unsigned char>(c)];
    if (value < 0) failure(who, "base64 text has a character that is none of its digits: ", shown({&c, 1}));
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    if ((count += 6) < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  return out;
}

}  // namespace trine::detail
