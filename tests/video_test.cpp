#include "trine/input/video.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "detail/file.h"
#include "testing.h"

namespace {

namespace fs = std::filesystem;
using trine::Audio;
using trine::Image;
using trine::Video;
using trine::VideoOptions;
using trine::testing::Folder;

const fs::path kGolden = fs::path(TRINE_TEST_DATA) / "golden/video";

std::vector<std::byte> bytes_of(const fs::path& path) { return trine::detail::read_file("test", path, 1u << 30); }

/// A clip and what ffmpeg made of it, see golden/make_video.py.
struct Golden {
  std::string file, codec;
  int width = 0, height = 0, tolerance = 0;
  std::vector<double> times;
  Image strip;  ///< all frames, one below the other
};

std::vector<Golden> golden_clips() {
  std::vector<Golden> clips;
  std::ifstream in(kGolden / "clips.txt");
  EXPECT_TRUE(in);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    Golden clip;
    words >> clip.file >> clip.codec >> clip.width >> clip.height >> clip.tolerance;
    for (double time; words >> time;) clip.times.push_back(time);
    clip.strip = trine::read_image(kGolden / (clip.file + ".png"));
    clips.push_back(clip);
  }
  EXPECT_EQ(clips.size(), 17u);
  return clips;
}

int difference(const Golden& clip, std::size_t index, const Image& image) {
  if (image.width != clip.width || image.height != clip.height) return 1000;
  const std::uint8_t* expected = clip.strip.pixels.data() + index * image.pixels.size();
  int most = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) most = std::max(most, std::abs(image.pixels[i] - expected[i]));
  return most;
}

std::string refusal(const fs::path& path, const VideoOptions& options = {}) {
  return trine::testing::refusal<std::runtime_error>([&] { trine::read_video(path, options); });
}

double power(const Audio& sound, double begin, double end) {
  double sum = 0;
  const auto first = static_cast<std::size_t>(begin * sound.sample_rate);
  const auto last = std::min(static_cast<std::size_t>(end * sound.sample_rate), sound.samples.size());
  for (std::size_t i = first; i < last; ++i) sum += static_cast<double>(sound.samples[i]) * sound.samples[i];
  return last > first ? sum / static_cast<double>(last - first) : 0;
}

TEST(Video, EveryFrameIsFfmpegs) {
  for (const Golden& clip : golden_clips()) {
    const Video video = trine::read_video(kGolden / clip.file, {.frames_per_second = 40});
    EXPECT_EQ(video.codec, clip.codec) << clip.file;
    ASSERT_GE(video.frames.size(), 20u) << clip.file;
    EXPECT_GT(video.seconds, clip.times.back()) << clip.file;
    EXPECT_LT(video.seconds, clip.times.back() + 0.6) << clip.file;
    for (const trine::VideoFrame& frame : video.frames) {
      const auto next = std::ranges::upper_bound(clip.times, frame.time + 5e-6);  // read_video rounds times by 1e-6
      const auto index = static_cast<std::size_t>(std::max<std::ptrdiff_t>(next - clip.times.begin() - 1, 0));
      ASSERT_LE(difference(clip, index, frame.image), clip.tolerance) << clip.file << " at " << frame.time << " s";
    }
  }
}

TEST(Video, FramesAreTakenAtARateOrEvenly) {
  const Video each = trine::read_video(kGolden / "vp9_vfr_late.mkv", {.frames_per_second = 2});
  ASSERT_EQ(each.frames.size(), 4u);
  EXPECT_DOUBLE_EQ(each.frames[3].time, 1.5);
  const Video evenly = trine::read_video(kGolden / "h264_709.mp4", {.frames = 4});
  ASSERT_EQ(evenly.frames.size(), 4u);
  EXPECT_NEAR(evenly.seconds, 1.0, 1e-6);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(evenly.frames[i].time, 0.125 + 0.25 * static_cast<double>(i), 1e-6);
  EXPECT_EQ(trine::read_video(kGolden / "h264_709.mp4", {.frames = 100}).frames.size(), 100u);
  EXPECT_EQ(trine::read_video(kGolden / "h264_709.mp4", {.frames_per_second = 0.1}).frames.size(), 1u);
}

TEST(Video, FramesAreChosenByTheirNumbers) {
  const fs::path path = kGolden / "vp9_vfr_late.mkv";  // of irregular times
  std::int64_t counted = 0;
  double lasts = 0;
  const VideoOptions every{.choose = [&](std::int64_t count, double seconds) {
    counted = count;
    lasts = seconds;
    std::vector<std::int64_t> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }};
  const Video all = trine::read_video(path, every);
  ASSERT_EQ(std::ssize(all.frames), counted);
  ASSERT_GT(counted, 5);
  EXPECT_NEAR(all.seconds, lasts, 1e-6);
  EXPECT_NEAR(all.seconds, trine::read_video(path).seconds, 1e-6);
  const Video some =
      trine::read_video(path, {.choose = [](std::int64_t, double) { return std::vector<std::int64_t>{0, 3, 3, 5}; }});
  ASSERT_EQ(some.frames.size(), 4u);
  for (const auto& [place, number] : {std::pair{0, 0}, {1, 3}, {2, 3}, {3, 5}}) {
    EXPECT_EQ(some.frames[static_cast<std::size_t>(place)].image.pixels,
              all.frames[static_cast<std::size_t>(number)].image.pixels);
    EXPECT_DOUBLE_EQ(some.frames[static_cast<std::size_t>(place)].time,
                     all.frames[static_cast<std::size_t>(number)].time);
  }
  for (const std::vector<std::int64_t>& wrong :
       {std::vector<std::int64_t>{}, {-1}, {3, 2}, {std::int64_t{1} << 40}, {0, counted}}) {
    EXPECT_THROW(trine::read_video(path, {.choose = [&](std::int64_t, double) { return wrong; }}),
                 std::invalid_argument);
  }
  VideoOptions few = every;
  few.max_frames = 4;
  EXPECT_NE(refusal(path, few).find("frames of it are wanted, 4 are accepted"), std::string::npos);
}

TEST(Video, MemoryAndFileAndTakeAreOne) {
  const fs::path path = kGolden / "h264_aac_text.mp4";
  const Video file = trine::read_video(path, {.frames_per_second = 5});
  const Video memory = trine::decode_video(bytes_of(path), {.frames_per_second = 5});
  std::vector<trine::VideoFrame> taken;
  const Video streamed = trine::read_video(path, {.frames_per_second = 5},
                                           [&](trine::VideoFrame frame) { taken.push_back(std::move(frame)); });
  EXPECT_TRUE(streamed.frames.empty());
  ASSERT_EQ(file.frames.size(), 5u);
  ASSERT_EQ(memory.frames.size(), 5u);
  ASSERT_EQ(taken.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(file.frames[i].image.pixels, memory.frames[i].image.pixels);
    EXPECT_EQ(file.frames[i].image.pixels, taken[i].image.pixels);
  }
  EXPECT_EQ(file.sound.samples, memory.sound.samples);
}

TEST(Video, SoundStandsWhereItIsHeard) {
  const Video video = trine::read_video(kGolden / "h264_aac_text.mp4");
  EXPECT_EQ(video.sound.sample_rate, 16'000);
  EXPECT_NEAR(video.sound.seconds(), 1.0, 0.1);
  EXPECT_GT(power(video.sound, 0.1, 0.9), 1e-3);
  // The track begins half a second after the pictures.
  const Video late = trine::read_video(kGolden / "vp9_vfr_late.mkv");
  EXPECT_NEAR(late.sound.seconds(), 1.0, 0.05);
  EXPECT_LT(power(late.sound, 0, 0.48), 1e-6);
  EXPECT_GT(power(late.sound, 0.55, 0.95), 1e-3);
  EXPECT_TRUE(trine::read_video(kGolden / "h264_aac_text.mp4", {.sound = false}).sound.samples.empty());
}

TEST(Video, SubtitlesInsideTheFile) {
  for (const char* name : {"h264_aac_text.mp4", "vp9_vfr_late.mkv", "vp8_vtt.webm", "mpeg4_ass.mkv"}) {
    const Video video = trine::read_video(kGolden / name);
    ASSERT_EQ(video.subtitles.size(), 2u) << name;
    EXPECT_NEAR(video.subtitles[0].start, 0.2, 0.002) << name;
    EXPECT_NEAR(video.subtitles[0].end, 0.6, 0.002) << name;
    const bool ass = std::string(name) == "mpeg4_ass.mkv";
    EXPECT_EQ(video.subtitles[0].text, ass ? "A red apple, ripe" : "A red apple") << name;
    EXPECT_EQ(video.subtitles[1].text, ass ? "Milk and honey" : "Milk & honey for two") << name;
  }
  EXPECT_TRUE(trine::read_video(kGolden / "vp8_vtt.webm", {.subtitles = false}).subtitles.empty());
}

TEST(Video, WhatIsMissingIsANote) {
  const Video silent = trine::read_video(kGolden / "h264_709.mp4");
  EXPECT_EQ(silent.notes, std::vector<std::string>{"it has no sound"});
  EXPECT_TRUE(silent.sound.samples.empty());
  EXPECT_NE(refusal(kGolden / "sound_only.m4a").find("(MP4, MOV or 3GP): it has no picture track"), std::string::npos);
}

TEST(Video, RefusesWhatIsNoVideo) {
  const Folder folder;
  const auto said = [&](std::string_view content) {
    folder.write("x", content);
    return refusal(folder / "x");
  };
  EXPECT_NE(said("").find("the file is empty"), std::string::npos);
  EXPECT_NE(said("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/a.ts\n").find("a playlist"), std::string::npos);
  EXPECT_NE(said("ffconcat version 1.0\nfile /etc/passwd\n").find("a playlist"), std::string::npos);
  EXPECT_NE(said("<?xml version=\"1.0\"?><MPD></MPD>").find("XML"), std::string::npos);
  EXPECT_NE(said("\xff\xd8\xff\xe0").find("a JPEG picture"), std::string::npos);
  EXPECT_NE(said("a text, and nothing else").find("this is no video that is read here"), std::string::npos);
  EXPECT_NE(said(std::string("\0\0\0\x18"
                             "ftypisom",
                             12))
                .find("(MP4, MOV or 3GP): "),
            std::string::npos);
  EXPECT_NE(said("\x1a\x45\xdf\xa3").find("(Matroska or WebM): "), std::string::npos);
  EXPECT_NE(refusal(folder.path()).find("[read_video] "), std::string::npos);
  EXPECT_THROW(trine::read_video(folder / "missing.mp4"), std::system_error);
}

TEST(Video, KeepsItsLimits) {
  const fs::path path = kGolden / "h264_aac_text.mp4";
  EXPECT_NE(refusal(path, {.max_seconds = 0.5}).find("longer than the 0.5 seconds"), std::string::npos);
  EXPECT_NE(refusal(path, {.frames = 3, .max_seconds = 0.5}).find("longer than the 0.5 seconds"), std::string::npos);
  EXPECT_NE(refusal(path, {.frames_per_second = 20, .max_frames = 8}).find("more than the 8 frames"),
            std::string::npos);
  EXPECT_NE(refusal(path, {.max_pixels = 1000}), "accepted");
  EXPECT_NE(refusal(path, {.frames = 10, .max_total_pixels = 5000}).find("more than the 5000 pixels"),
            std::string::npos);
  EXPECT_NE(refusal(path, {.max_bytes = 100}).find("at most 100 are accepted"), std::string::npos);
  const auto misuse = [&](const VideoOptions& options) {
    return trine::testing::refusal<std::invalid_argument>([&] { trine::read_video(path, options); });
  };
  EXPECT_NE(misuse({.frames_per_second = 0}).find("frames_per_second must be above 0"), std::string::npos);
  EXPECT_NE(misuse({.frames_per_second = std::nan("")}).find("frames_per_second"), std::string::npos);
  EXPECT_NE(misuse({.frames = -1}).find("VideoOptions.frames"), std::string::npos);
  EXPECT_NE(misuse({.frames = 9, .max_frames = 8}).find("max_frames = 8"), std::string::npos);
  EXPECT_NE(misuse({.sample_rate = -1}).find("sample_rate"), std::string::npos);
}

TEST(Video, ACutFileGivesWhatItHolds) {
  const Folder folder;
  const auto write = [&](const std::string& name, std::size_t bytes) {
    const std::vector<std::byte> whole = bytes_of(kGolden / name);
    folder.write(name, {reinterpret_cast<const char*>(whole.data()), std::min(bytes, whole.size())});
    return folder / name;
  };
  const Video video = trine::read_video(write("mpeg4_ass.mkv", 2000), {.frames_per_second = 10});
  EXPECT_GE(video.frames.size(), 1u);
  EXPECT_LT(video.frames.size(), 10u);
  EXPECT_NE(refusal(write("h264_709.mp4", 1500)), "accepted");  // its index lay at the end
}

TEST(Video, DamageIsASentenceOrANote) {
  std::mt19937 random(7);
  for (const Golden& clip : golden_clips()) {
    const std::vector<std::byte> whole = bytes_of(kGolden / clip.file);
    for (int round = 0; round < 12; ++round) {
      std::vector<std::byte> bytes = whole;
      for (int i = 0; i < 1 + round * 4; ++i) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
      if (round % 3 == 2) bytes.resize(1 + random() % bytes.size());
      try {
        const Video video = trine::decode_video(bytes, {.frames_per_second = 10, .max_seconds = 100});
        EXPECT_FALSE(video.frames.empty()) << clip.file;
        for (const float sample : video.sound.samples) ASSERT_TRUE(std::isfinite(sample));
      } catch (const std::runtime_error& error) {
        EXPECT_TRUE(std::string_view(error.what()).starts_with("[decode_video] the video")) << error.what();
      }
    }
  }
}

}  // namespace
