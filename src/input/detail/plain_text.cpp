#include "input/detail/plain_text.h"

#include <array>
#include <utility>

namespace trine::detail {

namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kEntities{
    {{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&nbsp;", " "}, {"&quot;", "\""}, {"&lrm;", ""}, {"&rlm;", ""}}};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Length of the tag that `text` begins with; 0: it begins with none. "a < b" has none.
std::size_t tag_length(std::string_view text) {
  const char closing = text.front() == '<' ? '>' : text.front() == '{' ? '}' : '\0';
  if (closing == '\0' || text.size() < 3) return 0;
  const char next = text[1];
  const bool tag = closing == '}' ? next == '\\' : is_letter(next) || is_digit(next) || next == '/';
  if (!tag) return 0;
  const std::size_t end = text.find(closing);
  return end == std::string_view::npos ? 0 : end + 1;
}

/// Adds a character; blanks, line ends and controls in a row become one blank.
void add(std::string& out, char c) {
  const bool blank = static_cast<unsigned char>(c) <= 0x20 || c == 0x7F;
  if (!blank) {
    out += c;
  } else if (!out.empty() && out.back() != ' ') {
    out += ' ';
  }
}

std::string trimmed(std::string text) {
  if (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace

std::string plain_cue(std::string_view cue) {
  std::string out;
  while (!cue.empty()) {
    if (const std::size_t length = tag_length(cue); length > 0) {
      cue.remove_prefix(length);
      continue;
    }
    std::size_t taken = 1;
    std::string_view character = cue.substr(0, 1);
    for (const auto& [entity, meaning] : kEntities) {
      if (cue.starts_with(entity)) taken = entity.size(), character = meaning;
    }
    for (const char c : character) add(out, c);
    cue.remove_prefix(taken);
  }
  return trimmed(std::move(out));
}

std::string plain_ass(std::string_view event) {
  std::string out;
  while (!event.empty()) {
    if (event.front() == '{') {
      const std::size_t end = event.find('}');
      const std::string_view block = event.substr(0, end);
      for (std::size_t at = block.find("\\p"); at != std::string_view::npos; at = block.find("\\p", at + 1)) {
        if (at + 2 < block.size() && block[at + 2] >= '1' && block[at + 2] <= '9') return "";  // what follows is drawn
      }
      if (end == std::string_view::npos) break;
      event.remove_prefix(end + 1);
    } else if (event.size() > 1 && event[0] == '\\' && (event[1] == 'N' || event[1] == 'n' || event[1] == 'h')) {
      add(out, ' ');
      event.remove_prefix(2);
    } else {
      add(out, event.front());
      event.remove_prefix(1);
    }
  }
  return trimmed(std::move(out));
}

}  // namespace trine::detail
