#include "trine/input/subtitles.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <system_error>

#include "testing.h"

namespace {

using trine::parse_subtitles;
using trine::Subtitle;

std::string refusal(const std::string& text) {
  return trine::testing::refusal<std::runtime_error>([&] { parse_subtitles(text); });
}

TEST(Subtitles, ReadsSubRip) {
  const auto cues = parse_subtitles(
      "\xEF\xBB\xBF"
      "2\r\n00:00:03,500 --> 00:00:04,000 X1:10 X2:20 Y1:5 Y2:6\r\n{\\an8}a < b &amp; c\r\nsecond  line\r\n\r\n\r\n"
      "1\r\n01:02:03.004 --> 01:02:05,000\r\n<i>An</i> <font color=\"#f00\">apple</font>\r\n\r\n"
      "3\r\n00:00:01,000 --> 00:00:02,000\r\n<b></b>\r\n");
  ASSERT_EQ(cues.size(), 2u);
  EXPECT_DOUBLE_EQ(cues[0].start, 3.5);
  EXPECT_DOUBLE_EQ(cues[0].end, 4);
  EXPECT_EQ(cues[0].text, "a < b & c second line");
  EXPECT_DOUBLE_EQ(cues[1].start, 3723.004);
  EXPECT_EQ(cues[1].text, "An apple");
}

TEST(Subtitles, ReadsWebVtt) {
  const auto cues = parse_subtitles(
      "WEBVTT - a title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE --> of nothing\n\nintro\n"
      "00:01.000 --> 00:02.500 align:start line:0\n<v Ann>An <c.loud>apple</c> <00:01.500>is &lt;red&gt;\n\n"
      "100:00:00.000 --> 100:00:01.000\nlate");
  ASSERT_EQ(cues.size(), 2u);
  EXPECT_DOUBLE_EQ(cues[0].end, 2.5);
  EXPECT_EQ(cues[0].text, "An apple is <red>");
  EXPECT_DOUBLE_EQ(cues[1].start, 360'000);
}

TEST(Subtitles, NothingIsNothing) {
  EXPECT_TRUE(parse_subtitles("").empty());
  EXPECT_TRUE(parse_subtitles("\n\n").empty());
  EXPECT_TRUE(parse_subtitles("WEBVTT").empty());
}

TEST(Subtitles, RefusesWhatIsNone) {
  EXPECT_EQ(
      refusal("1\n00:00:01 --> 00:00:02\nx\n"),
      "[parse_subtitles] line 2: a cue's times are wanted, as 00:00:01,000 --> 00:00:04,000; it is \"00:00:01 --> "
      "00:00:02\"");
  EXPECT_EQ(refusal("1\n00:00:02,000 --> 00:00:01,000\nx\n"),
            "[parse_subtitles] line 2: the cue ends at 1 s, before it starts at 2 s");
  EXPECT_NE(refusal("1\n00:61:00,000 --> 00:62:00,000\nx\n").find("line 2: a cue's times"), std::string::npos);
  EXPECT_NE(refusal("1\n-1:00:00,000 --> 00:00:01,000\nx\n").find("line 2"), std::string::npos);
  EXPECT_NE(refusal("1\n00:00:01,000 --> 00:00:02,000junk\nx\n").find("line 2"), std::string::npos);
  EXPECT_NE(refusal("1\n99999999999:00:01,000 --> 00:00:02,000\nx\n").find("line 2"), std::string::npos);
  EXPECT_NE(refusal("a story\nof two lines\n").find("line 1: a cue's times"), std::string::npos);
  EXPECT_NE(refusal("1").find("line 1"), std::string::npos);
  EXPECT_NE(refusal("[Script Info]\nTitle: x\n").find("line 1"), std::string::npos);
  EXPECT_NE(refusal("WEBVTT\n\n00:01:00,000 --> 00:02:00,000\nx\n").find("as 00:01.000 --> 00:04.000"),
            std::string::npos);
  EXPECT_NE(refusal("1\n00:00:01,000 --> 00:00:02,000\n\xE4pfel\n").find("not UTF-8"), std::string::npos);
  EXPECT_NE(refusal("\xFF\xFE"
                    "1")
                .find("UTF-16"),
            std::string::npos);
  EXPECT_NE(refusal(std::string("1\n00:00:01,000 --> 00:00:02,000\na\0b\n", 36)).find("zero byte"), std::string::npos);
}

TEST(Subtitles, KeepsItsLimits) {
  EXPECT_NE(refusal(std::string((16u << 20) + 1, '\n')).find("at most 16777216"), std::string::npos);
  EXPECT_NE(refusal("1\n00:00:01,000 --> 00:00:02,000\n" + std::string(30'000, 'x')).find("more than 20000 bytes"),
            std::string::npos);
  std::string many;
  for (int i = 0; i <= 100'000; ++i) many += "00:00:01,000 --> 00:00:02,000\nx\n\n";
  EXPECT_NE(refusal(many).find("more than 100000 cues"), std::string::npos);
  // Tags that never end are text, in linear time.
  std::string open;
  for (int i = 0; i < 6'000; ++i) open += "<a ";
  EXPECT_EQ(parse_subtitles("00:00:01,000 --> 00:00:02,000\n" + open)[0].text, open.substr(0, open.size() - 1));
}

TEST(Subtitles, LiesBesideAVideo) {
  const trine::testing::Folder folder;
  EXPECT_FALSE(trine::subtitles_beside(folder / "clip.mp4"));
  folder.write("clip.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nx\n");
  EXPECT_EQ(trine::subtitles_beside(folder / "clip.mp4"), folder / "clip.vtt");
  EXPECT_EQ(trine::read_subtitles(folder / "clip.vtt").size(), 1u);
  folder.write("bad.srt", "no times");
  const std::string said =
      trine::testing::refusal<std::runtime_error>([&] { trine::read_subtitles(folder / "bad.srt"); });
  EXPECT_TRUE(said.starts_with("[read_subtitles] ") && said.find("bad.srt: line 1: ") != std::string::npos) << said;
  EXPECT_THROW(trine::read_subtitles(folder / "missing.srt"), std::system_error);
}

}  // namespace
