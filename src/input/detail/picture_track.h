#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "input/detail/container.h"
#include "trine/input/image.h"

struct SwsContext;

namespace trine::detail {

/// Decoders of pictures that may be started, by their FFmpeg names.
extern const char* const kPictureDecoders;

/// The pictures of a stream, from packets to frames with their times.
class PictureTrack {
 public:
  /// Called with each frame, the time in seconds from which it is on screen and how long its header says it stays there
  /// (0: it does not say). Times never go back.
  using Take = std::function<void(const AVFrame& frame, double time, double duration)>;

  /// `origin`: the time of the file's beginning on the stream's clock, in seconds. Throws Refused.
  PictureTrack(const AVStream& stream, double origin, std::int64_t max_pixels, Take take);

  /// Null: the end.
  void decode(const AVPacket* packet);

  std::int64_t damaged() const { return damaged_; }  ///< packets that did not decode
  int damage() const { return damage_; }             ///< FFmpeg's code for the last of them
  const char* codec() const;

 private:
  Media<AVCodecContext> codec_;
  Media<AVFrame> frame_;
  double origin_;
  double usual_;  // seconds a frame, where packets have no times
  std::int64_t max_pixels_;
  Take take_;
  double last_ = -1;
  std::int64_t damaged_ = 0;
  int damage_ = 0;
};

/// Frames to 8-bit RGB.
class RgbConverter {
 public:
  Image convert(const AVFrame& frame);

 private:
  struct Free {
    void operator()(SwsContext* scaler) const;
  };
  std::unique_ptr<SwsContext, Free> scaler_;
};

/// How a stream's pictures must be turned to be upright, as an EXIF orientation; a turn by odd degrees is rounded to
/// quarters.
int orientation_of(const AVStream& stream);

}  // namespace trine::detail
