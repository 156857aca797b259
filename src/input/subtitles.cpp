#include "trine/input/subtitles.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "input/detail/plain_text.h"
#include "trine/input/text.h"

namespace trine {

namespace {

constexpr const char* kParse = "parse_subtitles";
constexpr const char* kRead = "read_subtitles";
constexpr std::uint64_t kMaxBytes = 16u << 20;
constexpr std::size_t kMaxCues = 100'000;
constexpr std::size_t kMaxCueBytes = 20'000;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t") == std::string_view::npos; }

/// Lines without their ends, which are LF, CRLF or CR, one by one.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}

  bool ended() const { return position_ >= text_.size(); }
  std::size_t number() const { return number_; }  ///< of the line that `take` gave last, from 1
  std::string_view peek() const { return text_.substr(position_, end() - position_); }

  std::string_view take() {
    const std::string_view line = peek();
    const std::size_t stop = end();
    position_ = stop + (text_.substr(stop, 2) == "\r\n" ? 2 : 1);
    ++number_;
    return line;
  }

 private:
  std::size_t end() const { return std::min(text_.find_first_of("\r\n", position_), text_.size()); }

  std::string_view text_;
  std::size_t position_ = 0;
  std::size_t number_ = 0;
};

template <typename... Parts>
[[noreturn]] void refuse(const Lines& lines, const Parts&... parts) {
  detail::failure(kParse, "line ", lines.number(), ": ", parts...);
}

/// Exactly `digits` decimal digits at the front of `text`, or at least two where `digits` is 0, taken off it; -1:
/// others.
int take_number(std::string_view& text, std::size_t digits) {
  std::size_t count = 0;
  int value = 0;
  while (count < text.size() && count < 4 && text[count] >= '0' && text[count] <= '9') {
    value = value * 10 + (text[count++] - '0');
  }
  if (digits == 0 ? count < 1 : count != digits) return -1;
  text.remove_prefix(count);
  return value;
}

bool take_char(std::string_view& text, std::string_view any) {
  if (text.empty() || any.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

/// "01:02:03,456", in WebVTT "02:03.456" too -> seconds; below 0: no time.
double take_time(std::string_view& text, bool vtt) {
  std::array<int, 3> parts{};
  std::size_t count = 0;
  do {
    if (count == 3) return -1;
    parts[count] = take_number(text, count == 0 ? 0 : 2);
    if (parts[count++] < 0) return -1;
  } while (take_char(text, ":"));
  const bool decimals = take_char(text, vtt ? "." : ",.");
  const int milliseconds = decimals ? take_number(text, 3) : -1;
  if (milliseconds < 0 || count < (vtt ? 2u : 3u)) return -1;
  if (count == 2) parts = {0, parts[0], parts[1]};
  if (parts[1] > 59 || parts[2] > 59) return -1;
  return parts[0] * 3600.0 + parts[1] * 60.0 + parts[2] + milliseconds / 1000.0;
}

/// The line with a cue's times, which `lines` gave last.
Subtitle cue_of(const Lines& lines, std::string_view line, bool vtt) {
  const auto skip_blanks = [&line] {
    while (take_char(line, " \t")) {
    }
  };
  const std::string shown = detail::shown(line);
  const auto bad = [&] {
    refuse(lines, "a cue's times are wanted, as ", vtt ? "00:01.000 --> 00:04.000" : "00:00:01,000 --> 00:00:04,000",
           "; it is ", shown);
  };
  Subtitle cue;
  skip_blanks();
  cue.start = take_time(line, vtt);
  skip_blanks();
  if (cue.start < 0 || !line.starts_with("-->")) bad();
  line.remove_prefix(3);
  skip_blanks();
  cue.end = take_time(line, vtt);
  if (cue.end < 0 || !(line.empty() || take_char(line, " \t"))) bad();  // positions and settings may follow
  if (cue.end < cue.start) refuse(lines, "the cue ends at ", cue.end, " s, before it starts at ", cue.start, " s");
  return cue;
}

/// What stands up to the next empty line.
std::string block(Lines& lines) {
  std::string text;
  while (!lines.ended() && !is_blank(lines.peek())) {
    text += lines.take();
    text += '\n';
    if (text.size() > kMaxCueBytes) refuse(lines, "the cue has more than ", kMaxCueBytes, " bytes");
  }
  return text;
}

bool is_vtt_aside(std::string_view line) {
  return std::ranges::any_of(std::array{"NOTE", "STYLE", "REGION"}, [line](std::string_view word) {
    return line.starts_with(word) &&
           (line.size() == word.size() || line[word.size()] == ' ' || line[word.size()] == '\t');
  });
}

}  // namespace

std::vector<Subtitle> parse_subtitles(std::string_view text) {
  if (text.size() > kMaxBytes)
    detail::failure(kParse, "the subtitles have ", text.size(), " bytes, at most ", kMaxBytes, " are accepted");
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    detail::failure(kParse, "the subtitles are UTF-16, wanted UTF-8; `iconv -f UTF-16 -t UTF-8` makes it");
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  try {
    check_utf8(text);
  } catch (const std::invalid_argument&) {
    detail::failure(kParse, "the subtitles are not UTF-8; `iconv -f WINDOWS-1252 -t UTF-8` makes it of an older file");
  }
  if (text.find('\0') != std::string_view::npos)
    detail::failure(kParse, "the subtitles hold a zero byte; they are no text");

  Lines lines(text);
  const bool vtt = text.starts_with("WEBVTT") &&
                   (text.size() == 6 || std::string_view(" \t\r\n").find(text[6]) != std::string_view::npos);
  if (vtt) block(lines);  // the first line and headers behind it
  std::vector<Subtitle> cues;
  while (!lines.ended()) {
    if (is_blank(lines.peek())) {
      lines.take();
      continue;
    }
    if (vtt && is_vtt_aside(lines.peek())) {
      block(lines);
      continue;
    }
    // A number (SubRip) or a name (WebVTT) may come before the times.
    std::string_view line = lines.take();
    if (line.find("-->") == std::string_view::npos) {
      const bool names = vtt || line.find_first_not_of("0123456789 \t") == std::string_view::npos;
      if (!names || lines.ended()) cue_of(lines, line, vtt);  // refuses
      line = lines.take();
    }
    Subtitle cue = cue_of(lines, line, vtt);
    cue.text = detail::plain_cue(block(lines));
    if (cue.text.empty()) continue;
    if (cues.size() == kMaxCues) refuse(lines, "more than ", kMaxCues, " cues are not accepted");
    cues.push_back(std::move(cue));
  }
  std::ranges::stable_sort(cues, {}, &Subtitle::start);
  return cues;
}

std::vector<Subtitle> read_subtitles(const std::filesystem::path& path) {
  const std::string text = detail::read_text(kRead, path, kMaxBytes);
  try {
    return parse_subtitles(text);
  } catch (const std::runtime_error& error) {
    const std::string_view message = error.what();
    detail::failure(kRead, path.string(), ": ", message.substr(message.find("] ") + 2));
  }
}

std::optional<std::filesystem::path> subtitles_beside(const std::filesystem::path& video) {
  for (const char* ending : {".srt", ".vtt", ".SRT", ".VTT"}) {
    std::filesystem::path beside = video;
    beside.replace_extension(ending);
    std::error_code error;
    if (std::filesystem::is_regular_file(beside, error)) return beside;
  }
  return {};
}

}  // namespace trine
