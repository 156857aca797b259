#include "input/detail/ffmpeg.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/channel_layout.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>
}

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "input/detail/mono_sink.h"

namespace trine::detail {

namespace {

constexpr int kIoBuffer = 32'768;
constexpr std::size_t kMaxAllocation = std::size_t{512} << 20;
constexpr std::int64_t kMaxFrameSamples = std::int64_t{1} << 22;
constexpr int kMaxStreams = 64;

/// Decoders by their FFmpeg names.
constexpr const char* kCodecs =
    "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,flac,mp1,mp2,mp3float,opus,speex,vorbis,wmav1,wmav2,"
    "wmapro,"
    "adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,g722,g726,gsm,gsm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be";

/// Position in the file and how much may still be read: a hostile index can point to the same bytes over and over.
struct Cursor {
  Bytes file;
  std::size_t position = 0;
  std::uint64_t budget = 0;
};

int read(void* user, std::uint8_t* out, int count) {
  auto& cursor = *static_cast<Cursor*>(user);
  const std::size_t part = std::min(cursor.file.size() - cursor.position, static_cast<std::size_t>(std::max(count, 0)));
  if (part == 0) return AVERROR_EOF;
  if (part > cursor.budget) return AVERROR(EIO);
  std::memcpy(out, cursor.file.data() + cursor.position, part);
  cursor.position += part;
  cursor.budget -= part;
  return static_cast<int>(part);
}

std::int64_t seek(void* user, std::int64_t offset, int whence) {
  auto& cursor = *static_cast<Cursor*>(user);
  const auto size = static_cast<std::int64_t>(cursor.file.size());
  if (whence == AVSEEK_SIZE) return size;
  const auto base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? static_cast<std::int64_t>(cursor.position) : size;
  if (offset < -base || offset > size - base) return AVERROR(EINVAL);
  cursor.position = static_cast<std::size_t>(base + offset);
  return base + offset;
}

int refuse_to_open(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EACCES); }

struct FreeIo {
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
};
struct FreeFormat {
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
};
struct FreeCodec {
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
};
struct FreePacket {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};
struct FreeFrame {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};

std::string reason(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> buffer{};
  // Some demuxers hand on what is no code of theirs; the bare number would tell nobody anything.
  return av_strerror(code, buffer.data(), buffer.size()) == 0 ? buffer.data() : "damaged data";
}

/// Of the whole process, once: no messages unless the program has chosen a level itself, and no single allocation that
/// a small file could not justify.
void prepare_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (av_log_get_level() == AV_LOG_INFO) av_log_set_level(AV_LOG_QUIET);
    av_max_alloc(kMaxAllocation);
  });
}

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

/// Frames one after the other and nothing else: tags and joints between them are common, and players pass over them.
bool is_frame_stream(std::string_view demuxer) { return demuxer == "mp3" || demuxer == "aac"; }

/// One sound track on its way from packets to the sink.
class Track {
 public:
  Track(const AVStream& stream, bool can_skip, MonoSink& sink)
      : sink_(sink), can_skip_(can_skip), frame_(av_frame_alloc()) {
    const AVCodecParameters& parameters = *stream.codecpar;
    const AVCodec* decoder = avcodec_find_decoder(parameters.codec_id);
    if (decoder == nullptr || av_match_list(decoder->name, kCodecs, ',') == 0) {
      sink.refuse("its sound is coded as ", avcodec_get_name(parameters.codec_id), ", which is not read");
    }
    codec_.reset(avcodec_alloc_context3(decoder));
    if (!codec_ || !frame_) throw std::bad_alloc();
    codec_->pkt_timebase = stream.time_base;  // needed to drop the encoder's padding
    codec_->max_samples = kMaxFrameSamples;
    int code = avcodec_parameters_to_context(codec_.get(), &parameters);
    if (code >= 0) code = avcodec_open2(codec_.get(), decoder, nullptr);
    if (code < 0) sink.refuse("its sound (", decoder->name, ") cannot be decoded: ", reason(code));
  }

  /// Null: the end.
  void decode(const AVPacket* packet) {
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

  int damage() const { return damage_; }

 private:
  void pour() {
    const int rate = frame_->sample_rate;
    const int channels = frame_->ch_layout.nb_channels;
    if (!sink_.started()) sink_.start(rate, channels);
    if (rate != sink_.sample_rate()) {
      sink_.refuse("its sample rate changes from ", sink_.sample_rate(), " to ", rate, " Hz within the clip");
    }
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
  }

  MonoSink& sink_;
  bool can_skip_;
  std::unique_ptr<AVCodecContext, FreeCodec> codec_;
  std::unique_ptr<AVFrame, FreeFrame> frame_;
  std::vector<float> samples_;
  int damage_ = 0;  // code of the first packet that did not decode
};

std::unique_ptr<AVIOContext, FreeIo> open_memory(Cursor& cursor) {
  auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBuffer));
  if (buffer == nullptr) throw std::bad_alloc();
  std::unique_ptr<AVIOContext, FreeIo> io(avio_alloc_context(buffer, kIoBuffer, 0, &cursor, read, nullptr, seek));
  if (!io) {
    av_free(buffer);
    throw std::bad_alloc();
  }
  return io;
}

std::unique_ptr<AVFormatContext, FreeFormat> open_container(AVIOContext& io, const char* demuxer,
                                                            const MonoSink& sink) {
  const AVInputFormat* input = av_find_input_format(demuxer);
  if (input == nullptr) sink.refuse("this build of FFmpeg has no reader for ", demuxer);
  AVFormatContext* format = avformat_alloc_context();
  if (format == nullptr) throw std::bad_alloc();
  format->pb = &io;
  format->flags |= AVFMT_FLAG_CUSTOM_IO;
  format->io_open = refuse_to_open;
  format->max_streams = kMaxStreams;
  av_opt_set(format, "codec_whitelist", kCodecs, 0);
  av_opt_set(format, "format_whitelist", input->name, 0);
  av_opt_set(format, "protocol_whitelist", "none", 0);
  const int code = avformat_open_input(&format, "", input, nullptr);  // frees `format` when it fails
  if (code < 0) sink.refuse("it cannot be read: ", reason(code));
  return std::unique_ptr<AVFormatContext, FreeFormat>(format);
}

/// The first sound track marked as default, else the first one; -1: none. (av_find_best_stream passes over tracks whose
/// header says nothing of rate and channels, as raw AAC.)
int sound_track(const AVFormatContext& format) {
  int first = -1;
  for (unsigned i = 0; i < format.nb_streams; ++i) {
    if (format.streams[i]->codecpar->codec_type != AVMEDIA_TYPE_AUDIO) continue;
    if ((format.streams[i]->disposition & AV_DISPOSITION_DEFAULT) != 0) return static_cast<int>(i);
    if (first < 0) first = static_cast<int>(i);
  }
  return first;
}

/// A file opened up to its sound's decoder.
class Recording {
 public:
  Recording(Bytes file, const char* demuxer, MonoSink& sink)
      : sink_(sink), cursor_{file, 0, 8 * static_cast<std::uint64_t>(file.size()) + (1u << 20)} {
    prepare_library();
    io_ = open_memory(cursor_);
    format_ = open_container(*io_, demuxer, sink);
    chosen_ = sound_track(*format_);
    if (chosen_ < 0) sink.refuse("it has no sound track");
    for (unsigned i = 0; i < format_->nb_streams; ++i) {
      if (static_cast<int>(i) != chosen_) format_->streams[i]->discard = AVDISCARD_ALL;
    }
    track_.emplace(*format_->streams[chosen_], is_frame_stream(demuxer), sink);
  }

  void decode() {
    const std::unique_ptr<AVPacket, FreePacket> packet(av_packet_alloc());
    if (!packet) throw std::bad_alloc();
    // A true packet takes at least one byte of the file, and all of them together no more than the file.
    std::uint64_t packets_left = cursor_.file.size();
    std::uint64_t bytes_left = 2 * static_cast<std::uint64_t>(cursor_.file.size());
    while (av_read_frame(format_.get(), packet.get()) >= 0) {
      const auto size = static_cast<std::uint64_t>(packet->size);
      if (packets_left == 0 || size > bytes_left) sink_.refuse("its index points to more data than the file has");
      --packets_left;
      bytes_left -= size;
      if (packet->stream_index == chosen_) track_->decode(packet.get());
      av_packet_unref(packet.get());
    }
    track_->decode(nullptr);
    if (!sink_.started() && track_->damage() != 0)
      sink_.refuse("its sound does not decode: ", reason(track_->damage()));
  }

 private:
  MonoSink& sink_;
  Cursor cursor_;
  std::unique_ptr<AVIOContext, FreeIo> io_;
  std::unique_ptr<AVFormatContext, FreeFormat> format_;
  int chosen_ = -1;
  std::optional<Track> track_;
};

}  // namespace

void check_with_ffmpeg(Bytes file, const char* demuxer, MonoSink& sink) { Recording(file, demuxer, sink); }

void decode_with_ffmpeg(Bytes file, const char* demuxer, MonoSink& sink) { Recording(file, demuxer, sink).decode(); }

}  // namespace trine::detail
