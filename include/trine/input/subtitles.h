#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trine/export.h"

namespace trine {

/// What is written under a video for a while, as plain text on one line.
struct Subtitle {
  double start = 0;  ///< seconds
  double end = 0;
  std::string text;
};

/// Reads SubRip (.srt) or WebVTT (a first line "WEBVTT"), told apart by their content: UTF-8, with or without a byte
/// order mark, any line ends. Tags, positions, notes and styles are left out, entities resolved, cues without text
/// dropped; in the order of their times. The grammar is strict, so that a file of another kind is not half read.
/// Errors: std::runtime_error naming the line, for times that are none, an end before its start, text that is not
/// UTF-8, more than 16 MiB, 100,000 cues or 20,000 bytes in a cue.
TRINE_API std::vector<Subtitle> parse_subtitles(std::string_view text);

/// The same from a file. A missing file is std::system_error.
TRINE_API std::vector<Subtitle> read_subtitles(const std::filesystem::path& path);

/// The subtitles that lie beside a video: clip.srt, clip.vtt or their spelling in capitals beside clip.mp4.
TRINE_API std::optional<std::filesystem::path> subtitles_beside(const std::filesystem::path& video);

}  // namespace trine
