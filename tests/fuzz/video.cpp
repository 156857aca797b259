#include <span>

#include "fuzzing.h"
#include "trine/input/video.h"

/// A file is refused with a sentence or gives what it holds within the limits.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const trine::VideoOptions kLimits{
      .frames_per_second = 4, .max_frames = 32, .max_pixels = 1 << 16, .max_total_pixels = 1 << 20, .max_seconds = 60};
  try {
    const trine::Video video = trine::decode_video(std::as_bytes(std::span(data, size)), kLimits);
    if (video.frames.empty() || std::ssize(video.frames) > kLimits.max_frames) std::abort();
    double last = 0;
    for (const trine::VideoFrame& frame : video.frames) {
      const auto wanted =
          static_cast<std::size_t>(frame.image.width) * static_cast<std::size_t>(frame.image.height) * 3;
      if (frame.time < last || frame.image.pixels.size() != wanted || wanted > 3u << 16) std::abort();
      last = frame.time;
    }
    if (!(video.seconds >= 0 && video.seconds <= kLimits.max_seconds)) std::abort();
    for (const trine::Subtitle& cue : video.subtitles) trine::check_utf8(cue.text);
  } catch (const std::runtime_error&) {
  }
  return 0;
}
