#include "encoders/windows.h"

#include <algorithm>

#include "detail/error.h"

namespace trine::detail {

namespace {

constexpr const char* kWho = "embed_texts";
constexpr std::int64_t kSharedTokens = 32;

using Span = std::pair<std::int32_t, std::int32_t>;  ///< [first, last) in characters

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }
bool blank(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/// A text by its characters.
class Characters {
 public:
  explicit Characters(std::string_view text) : text_(text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (begins_character(text[i])) starts_.push_back(i);
    }
    starts_.push_back(text.size());
  }

  std::int32_t count() const { return static_cast<std::int32_t>(starts_.size() - 1); }
  bool blank_at(std::int32_t i) const { return blank(text_[start(i)]); }
  std::string slice(std::int32_t first, std::int32_t last) const {
    return std::string(text_.substr(start(first), start(last) - start(first)));
  }

 private:
  std::size_t start(std::int32_t i) const { return starts_[static_cast<std::size_t>(i)]; }

  std::string_view text_;
  std::vector<std::size_t> starts_;  ///< byte of each, and of the end
};

/// Places between the tokens of a text; place i is before token i.
class Places {
 public:
  Places(const Encoding& encoding, const Characters& characters) : characters_(characters) {
    for (const Span& span : encoding.offsets) {
      if (span.first < span.second) spans_.push_back(span);  // others stand for no part of the text
    }
  }

  std::int64_t count() const { return std::ssize(spans_); }
  std::int32_t begin(std::int64_t token) const { return at(token).first; }
  std::int32_t end(std::int64_t token) const { return at(token).second; }

  /// The last place in [least, most] that a window may begin or end at, between words if there is one; 0: none.
  std::int64_t last(std::int64_t least, std::int64_t most) const {
    for (std::int64_t place = most; place >= least; --place) {
      if (between_words(place)) return place;
    }
    for (std::int64_t place = most; place >= least; --place) {
      if (between_characters(place)) return place;
    }
    return 0;
  }

  /// Several tokens may make one character.
  bool between_characters(std::int64_t place) const { return end(place - 1) <= begin(place); }

 private:
  bool between_words(std::int64_t place) const {
    if (end(place - 1) < begin(place)) return true;
    return end(place - 1) == begin(place) &&
           (characters_.blank_at(begin(place)) || characters_.blank_at(begin(place) - 1));
  }
  const Span& at(std::int64_t token) const { return spans_[static_cast<std::size_t>(token)]; }

  std::vector<Span> spans_;
  const Characters& characters_;
};

}  // namespace

std::int64_t count_characters(std::string_view text) { return std::ranges::count_if(text, begins_character); }

std::int64_t shared_tokens(std::int64_t room) { return std::min(kSharedTokens, room / 4); }

std::vector<TextWindow> text_windows(const TextEncoder& encoder, const std::string& prompt, const std::string& text) {
  const std::int64_t most = encoder.max_tokens(), taken = encoder.count_tokens(prompt), room = most - taken;
  if (room < 1) {
    bad_argument(kWho, "the prompt and the special tokens take ", taken, " tokens, the model takes ", most,
                 ": there is no room for a text");
  }

  const Characters characters(text);
  const Places places(encoder.tokenizer().encode(text), characters);
  if (places.count() == 0) return {{text, {0, static_cast<double>(characters.count())}}};
  const std::int64_t count = places.count(), shared = shared_tokens(room);
  const auto piece = [&](std::int32_t begin, std::int64_t last) -> TextWindow {
    const std::int32_t end = last == count ? characters.count() : places.end(last - 1);
    return {characters.slice(begin, end), {static_cast<double>(begin), static_cast<double>(end)}};
  };
  const auto end_place = [&](std::int64_t first, std::int64_t most_tokens) {
    if (most_tokens >= count) return count;
    std::int64_t place = places.last(std::max(first + 1, most_tokens - room / 2), most_tokens);
    if (place == 0) place = places.last(first + 1, most_tokens);
    if (place != 0) return place;
    place = most_tokens;  // inside a character of more tokens than there is room for
    while (place < count && !places.between_characters(place)) ++place;
    return place;
  };
  std::vector<TextWindow> windows;
  std::int32_t begin = 0;
  for (std::int64_t first = 0, last = 0; last < count;) {
    last = end_place(first, first + room);
    for (;;) {  // alone, a piece may have other tokens than within the text
      const std::int64_t excess = encoder.count_tokens(prompt + piece(begin, last).text) - most;
      const std::int64_t shorter = excess > 0 ? end_place(first, std::max(first + 1, last - excess)) : last;
      if (shorter >= last) break;
      last = shorter;
    }
    windows.push_back(piece(begin, last));
    if (last == count) break;
    const std::int64_t next = places.last(std::max(first + 1, last - room / 2), last - shared);
    first = next != 0 ? next : last;
    begin = next != 0 ? places.begin(next) : places.end(last - 1);
  }
  return windows;
}

std::vector<std::pair<std::size_t, std::size_t>> sample_windows(std::size_t size, std::size_t longest) {
  std::vector<std::pair<std::size_t, std::size_t>> windows;
  const std::size_t step = std::max<std::size_t>(longest / 2, 1);
  for (std::size_t first = 0;; first += step) {
    windows.emplace_back(first, std::min(first + longest, size));
    if (windows.back().second == size) return windows;
  }
}

}  // namespace trine::detail
