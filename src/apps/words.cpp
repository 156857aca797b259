#include "apps/words.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace trine::detail {

namespace {

constexpr std::size_t kLongestNumber = 40;  ///< characters of an order number
constexpr std::array<std::string_view, 9> kOrders{"order",         "orders",      "bestellung",
                                                  "bestellnummer", "auftrag",     "auftragsnummer",
                                                  "bestellnr",     "ordernumber", "orderid"};
/// What may stand between "order" and its number.
constexpr std::array<std::string_view, 14> kBetween{"number", "numbers", "no",  "nr",  "nummer", "num",    "id",
                                                    "code",   "is",      "was", "ist", "war",    "lautet", "the"};

bool is_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || std::isalnum(byte) != 0;
}

bool is_number_part(char c) {
  return (std::isalnum(static_cast<unsigned char>(c)) != 0) || c == '-' || c == '_' || c == '/';
}

/// The part of a word from its first to its last letter or digit: "(A-1029)." -> "A-1029".
std::string_view bare(std::string_view word) {
  while (!word.empty() && !is_word(word.front())) word.remove_prefix(1);
  while (!word.empty() && !is_word(word.back())) word.remove_suffix(1);
  return word;
}

bool is_number(std::string_view word, std::ptrdiff_t digits) {
  return word.size() <= kLongestNumber && std::ranges::all_of(word, is_number_part) &&
         std::ranges::count_if(word, [](unsigned char c) { return std::isdigit(c) != 0; }) >= digits;
}

template <std::size_t kCount>
bool among(const std::array<std::string_view, kCount>& known, std::string_view word) {
  std::string lower(word);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::find(known, lower) != known.end();
}

}  // namespace

std::string folded(std::string_view text) {
  constexpr std::string_view kApostrophe = "\xE2\x80\x99";  // ’, the one that is no ASCII
  std::string words = " ";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool apostrophe = text.substr(i).starts_with(kApostrophe);
    if (!apostrophe && is_word(text[i])) {
      words += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    } else if (words.back() != ' ') {
      words += ' ';
    }
    if (apostrophe) i += kApostrophe.size() - 1;
  }
  if (words.back() != ' ') words += ' ';
  return words;
}

bool take_phrase(std::string& text, std::string_view phrase) {
  const std::size_t place = phrase.size() < 2 ? std::string::npos : text.find(phrase);
  if (place == std::string::npos) return false;
  text.replace(place, phrase.size(), " | ");  // what was left and right of it makes no new phrase
  return true;
}

std::string_view beginning(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
  return text.substr(0, limit);
}

std::optional<std::string> order_number(std::string_view text, bool asked) {
  bool after_order = false;
  std::optional<std::string> any;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto is_blank = [&](std::size_t i) { return std::isspace(static_cast<unsigned char>(text[i])) != 0; };
    while (begin < text.size() && is_blank(begin)) ++begin;
    std::size_t end = begin;
    while (end < text.size() && !is_blank(end)) ++end;
    const std::string_view raw = text.substr(begin, end - begin);
    const std::size_t mark = raw.find('#');
    const bool marked = mark != std::string_view::npos;
    const std::string_view word = bare(marked ? raw.substr(mark) : raw);
    begin = end;
    if (word.empty()) continue;  // punctuation between "order" and its number
    if ((after_order || marked) && is_number(word, 3)) return std::string(word);
    if (!any && asked && is_number(word, 4)) any = std::string(word);
    after_order = among(kOrders, word) || (after_order && among(kBetween, word));
  }
  return any;
}

}  // namespace trine::detail
