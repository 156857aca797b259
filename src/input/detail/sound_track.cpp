#include "input/detail/sound_track.h"

extern "C" {
#include <libavutil/channel_layout.h>
}

#include <algorithm>
#include <limits>
#include <type_traits>

namespace trine::detail {

const char* const kSoundDecoders =
    "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,flac,mp1,mp2,mp3float,opus,speex,vorbis,wmav1,wmav2,"
    "wmapro,"
    "adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,g722,g726,gsm,gsm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be";

namespace {

constexpr std::int64_t kMaxFrameSamples = std::int64_t{1} << 22;
constexpr double kGap = 0.1;  // seconds; clocks wander by less

/// Sample of any of FFmpeg's types in [-1, 1].
template <typename T>
float to_float(T sample) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<float>(sample);
  } else if constexpr (std::is_unsigned_v<T>) {
    return (static_cast<float>(sample) - 128) / 128;
  } else {
    return static_cast<float>(static_cast<double>(sample) / -static_cast<double>(std::numeric_limits<T>::min()));
  }
}

template <typename T>
void interleave(const AVFrame& frame, bool planar, std::vector<float>& out) {
  const auto channels = static_cast<std::size_t>(frame.ch_layout.nb_channels);
  const auto count = static_cast<std::size_t>(frame.nb_samples);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const auto* in = reinterpret_cast<const T*>(planar ? frame.extended_data[channel] : frame.extended_data[0]);
    const std::size_t first = planar ? 0 : channel;
    const std::size_t step = planar ? 1 : channels;
    for (std::size_t i = 0; i < count; ++i) out[i * channels + channel] = to_float(in[first + i * step]);
  }
}

}  // namespace

SoundTrack::SoundTrack(const AVStream& stream, bool can_skip, MonoSink& sink, std::optional<double> origin)
    : sink_(sink),
      can_skip_(can_skip),
      origin_(origin),
      codec_(open_decoder(stream, kSoundDecoders, "sound")),
      frame_(new_frame()) {
  codec_->max_samples = kMaxFrameSamples;
}

void SoundTrack::decode(const AVPacket* packet) {
  const int sent = avcodec_send_packet(codec_.get(), packet);
  if (sent < 0 && sent != AVERROR_EOF) damage_ = sent;
  for (;;) {
    const int received = avcodec_receive_frame(codec_.get(), frame_.get());
    if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) return;
    if (received < 0) {
      damage_ = received;
      return;
    }
    if (damage_ != 0 && !can_skip_) sink_.refuse("it is damaged: ", reason(damage_));
    pour();
  }
}

void SoundTrack::pour() {
  const int rate = frame_->sample_rate;
  const int channels = frame_->ch_layout.nb_channels;
  if (!sink_.started()) sink_.start(rate, channels);
  if (rate != sink_.sample_rate()) {
    sink_.refuse("its sample rate changes from ", sink_.sample_rate(), " to ", rate, " Hz within the clip");
  }
  if (origin_) fill_gap(rate, channels);
  samples_.resize(static_cast<std::size_t>(frame_->nb_samples) * static_cast<std::size_t>(channels));
  const auto type = static_cast<AVSampleFormat>(frame_->format);
  const bool planar = av_sample_fmt_is_planar(type) != 0;
  switch (av_get_packed_sample_fmt(type)) {
    case AV_SAMPLE_FMT_U8:
      interleave<std::uint8_t>(*frame_, planar, samples_);
      break;
    case AV_SAMPLE_FMT_S16:
      interleave<std::int16_t>(*frame_, planar, samples_);
      break;
    case AV_SAMPLE_FMT_S32:
      interleave<std::int32_t>(*frame_, planar, samples_);
      break;
    case AV_SAMPLE_FMT_S64:
      interleave<std::int64_t>(*frame_, planar, samples_);
      break;
    case AV_SAMPLE_FMT_FLT:
      interleave<float>(*frame_, planar, samples_);
      break;
    case AV_SAMPLE_FMT_DBL:
      interleave<double>(*frame_, planar, samples_);
      break;
    default:
      sink_.refuse("its samples are of an unknown type");
  }
  sink_.push(samples_, channels);
  poured_ += frame_->nb_samples;
}

void SoundTrack::fill_gap(int rate, int channels) {
  if (frame_->best_effort_timestamp == AV_NOPTS_VALUE) return;
  const double due = static_cast<double>(frame_->best_effort_timestamp) * av_q2d(codec_->pkt_timebase) - *origin_;
  double missing = due * rate - poured_;
  if (missing < (poured_ > 0 ? kGap * rate : 0.5)) return;
  constexpr double kPiece = 4096;  // the sink ends a gap beyond its limit of seconds before much memory is taken
  while (missing >= 0.5) {
    const double count = std::min(kPiece, std::max(1.0, missing));
    samples_.assign(static_cast<std::size_t>(count) * static_cast<std::size_t>(channels), 0.0f);
    sink_.push(samples_, channels);
    poured_ += static_cast<double>(static_cast<std::size_t>(count));
    missing -= static_cast<double>(static_cast<std::size_t>(count));
  }
}

}  // namespace trine::detail
