#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "trine/export.h"
#include "trine/input/audio.h"
#include "trine/input/image.h"
#include "trine/input/subtitles.h"

namespace trine {

/// What is on screen at a moment.
struct VideoFrame {
  double time = 0;  ///< seconds from the beginning of the file
  Image image;      ///< turned as the file asks; pixels that are not square stay as they are
};

struct Video {
  std::string container;                 ///< "MP4, M4A or MOV", "Matroska or WebM" ...
  std::string codec;                     ///< of the pictures, as FFmpeg calls it: "h264"
  double seconds = 0;                    ///< until the last frame leaves the screen
  std::vector<VideoFrame> frames = {};   ///< in the order of their times
  Audio sound = {};                      ///< mono, from second 0 on; no samples where there is none
  std::vector<Subtitle> subtitles = {};  ///< that lie inside the file, in the order of their times
  std::vector<std::string> notes = {};   ///< sentences on what is missing or damaged, and that the rest was read
};

/// Of so many frames, which last so many seconds together, the numbers from 0 of those that are wanted: in their order,
/// one may come twice.
using ChooseFrames = std::function<std::vector<std::int64_t>(std::int64_t count, double seconds)>;

struct VideoOptions {
  double frames_per_second = 1;  ///< what is on screen at 0, 1, 2 ... s for 1
  std::int64_t frames = 0;  ///< this many instead, from the middles of as many equal parts; 0: by frames_per_second
  bool sound = true;
  bool subtitles = true;
  int sample_rate = 16'000;                   ///< Hz of the sound; 0 keeps the file's
  std::int64_t max_frames = 14'400;           ///< taken
  std::int64_t max_pixels = 8'192 * 4'320;    ///< of a frame
  std::int64_t max_total_pixels = 1ll << 30;  ///< of the frames that `Video::frames` keeps
  double max_seconds = 14'400;                ///< of the video
  std::uint64_t max_bytes = 16ull << 30;      ///< size of the file
  ChooseFrames choose = {};  ///< instead of the first two: the frames are counted before, so the pictures decode twice
};

/// Is given each frame as it is decoded; `Video::frames` then stays empty, so that long videos need little memory.
using TakeFrame = std::function<void(VideoFrame frame)>;

/// Decodes a video in MP4, MOV, 3GP, Matroska, WebM, AVI, Ogg, MPEG-TS, MPEG-PS, FLV, WMV, MXF, NUT, RealMedia, IVF,
/// Y4M or GIF, in process, with FFmpeg's libraries: the default (else the first) track of pictures, of sound and of
/// text (mov_text, SubRip, WebVTT, ASS). The container is told from the first bytes and never guessed; no other file
/// and nothing of the network is opened, and only common decoders are ever started.
///
///     trine::Video video = trine::read_video("clip.mp4", {.frames_per_second = 2});
///
/// Times may be irregular: a frame is on screen from its time until the next one's. Pixels are 8-bit RGB by the colour
/// matrix and range that the file states (BT.709, BT.2020 ...; BT.601 where it states none, as `ffmpeg` does); not
/// de-interlaced, no tone mapping. Sound or subtitles that are missing or damaged are a note, packets of pictures that
/// do not decode too, and a file that was cut gives what it still holds. Errors: std::runtime_error for another format,
/// a file without pictures, one beyond the limits, or damage that leaves no frame; std::invalid_argument for options
/// without sense.
TRINE_API Video read_video(const std::filesystem::path& path, const VideoOptions& options = {},
                           const TakeFrame& take = {});

/// The same from memory.
TRINE_API Video decode_video(std::span<const std::byte> file, const VideoOptions& options = {},
                             const TakeFrame& take = {});

}  // namespace trine
