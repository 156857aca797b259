#pragma once

#include <optional>
#include <vector>

#include "input/detail/container.h"
#include "input/detail/mono_sink.h"

namespace trine::detail {

/// Decoders of sound that may be started, by their FFmpeg names.
extern const char* const kSoundDecoders;

/// One sound track on its way from packets to the sink.
class SoundTrack {
 public:
  /// `can_skip`: packets that do not decode are passed over. With `origin`, the time of the file's beginning on the
  /// stream's clock in seconds, samples stand where their time says: gaps are filled with silence. Throws Refused.
  SoundTrack(const AVStream& stream, bool can_skip, MonoSink& sink, std::optional<double> origin = {});

  /// Null: the end.
  void decode(const AVPacket* packet);

  /// FFmpeg's code of the last packet that did not decode; 0: all did.
  int damage() const { return damage_; }

 private:
  void pour();
  void fill_gap(int rate, int channels);

  MonoSink& sink_;
  bool can_skip_;
  std::optional<double> origin_;
  Media<AVCodecContext> codec_;
  Media<AVFrame> frame_;
  std::vector<float> samples_;
  double poured_ = 0;  // frames
  int damage_ = 0;
};

}  // namespace trine::detail
