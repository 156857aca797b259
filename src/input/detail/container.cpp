#include "input/detail/container.h"

extern "C" {
#include <libavutil/avstring.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>
}

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>

#include "detail/error.h"

namespace trine::detail {

namespace {

constexpr int kIoBuffer = 32'768;
constexpr std::size_t kMaxAllocation = std::size_t{512} << 20;
constexpr int kMaxStreams = 64;

int refuse_to_open(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EACCES); }

/// Of the whole process, once: no messages unless the program has chosen a level itself, and no single allocation that
/// a small file could not justify.
void prepare_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (av_log_get_level() == AV_LOG_INFO) av_log_set_level(AV_LOG_QUIET);
    av_max_alloc(kMaxAllocation);
  });
}

template <typename T>
Media<T> checked(T* made) {
  if (made == nullptr) throw std::bad_alloc();
  return Media<T>(made);
}

}  // namespace

Media<AVPacket> new_packet() { return checked(av_packet_alloc()); }
Media<AVFrame> new_frame() { return checked(av_frame_alloc()); }

std::string reason(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> buffer{};
  // Some demuxers hand on what is no code of theirs; the bare number would tell nobody anything.
  return av_strerror(code, buffer.data(), buffer.size()) == 0 ? buffer.data() : "damaged data";
}

int Container::read_some(void* user, std::uint8_t* out, int count) {
  auto& [source, position, budget] = *static_cast<Cursor*>(user);
  auto part = static_cast<std::size_t>(
      std::min<std::uint64_t>(source.size() - position, static_cast<std::uint64_t>(std::max(count, 0))));
  if (part == 0) return AVERROR_EOF;
  if (part > budget) return AVERROR(EIO);
  if (source.file == nullptr) {
    std::memcpy(out, source.memory.data() + position, part);
  } else {
    const ssize_t got = ::pread(source.file->descriptor(), out, part, static_cast<off_t>(position));
    if (got < 0) return AVERROR(errno);
    if (got == 0) return AVERROR_EOF;  // cut meanwhile
    part = static_cast<std::size_t>(got);
  }
  position += part;
  budget -= part;
  return static_cast<int>(part);
}

std::int64_t Container::seek(void* user, std::int64_t offset, int whence) {
  auto& cursor = *static_cast<Cursor*>(user);
  const auto size = static_cast<std::int64_t>(cursor.source.size());
  if (whence == AVSEEK_SIZE) return size;
  const auto base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? static_cast<std::int64_t>(cursor.position) : size;
  if (offset < -base || offset > size - base) return AVERROR(EINVAL);
  cursor.position = static_cast<std::uint64_t>(base + offset);
  return base + offset;
}

Container::Container(const MediaSource& source, const char* demuxer, const char* decoders)
    : cursor_{source, 0, 8 * source.size() + (1u << 20)}, packets_left_(source.size()), bytes_left_(2 * source.size()) {
  prepare_library();
  auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBuffer));
  if (buffer == nullptr) throw std::bad_alloc();
  io_.reset(avio_alloc_context(buffer, kIoBuffer, 0, &cursor_, read_some, nullptr, seek));
  if (!io_) {
    av_free(buffer);
    throw std::bad_alloc();
  }
  const AVInputFormat* input = av_find_input_format(demuxer);
  if (input == nullptr) throw Refused{std::string("this build of FFmpeg has no reader for ") + demuxer};
  AVFormatContext* format = avformat_alloc_context();
  if (format == nullptr) throw std::bad_alloc();
  format->pb = io_.get();
  format->flags |= AVFMT_FLAG_CUSTOM_IO;
  format->io_open = refuse_to_open;
  format->max_streams = kMaxStreams;
  av_opt_set(format, "codec_whitelist", decoders, 0);
  av_opt_set(format, "format_whitelist", input->name, 0);
  av_opt_set(format, "protocol_whitelist", "none", 0);
  const int code = avformat_open_input(&format, "", input, nullptr);  // frees `format` when it fails
  if (code < 0) throw Refused{"it cannot be read: " + reason(code)};
  format_.reset(format);
}

bool Container::read(AVPacket& packet) {
  if (av_read_frame(format_.get(), &packet) < 0) return false;
  // A true packet takes at least one byte of the file, and all of them together no more than the file.
  const auto size = static_cast<std::uint64_t>(packet.size);
  if (packets_left_ == 0 || size > bytes_left_) throw Refused{"its index points to more data than the file has"};
  --packets_left_;
  bytes_left_ -= size;
  return true;
}

Media<AVCodecContext> open_decoder(const AVStream& stream, const char* decoders, const char* what,
                                   AVDictionary** options) {
  const AVCodecParameters& parameters = *stream.codecpar;
  const AVCodec* decoder = avcodec_find_decoder(parameters.codec_id);
  if (decoder == nullptr || av_match_list(decoder->name, decoders, ',') == 0) {
    throw Refused{std::string("its ") + what + " is coded as " + avcodec_get_name(parameters.codec_id) +
                  ", which is not read"};
  }
  Media<AVCodecContext> codec = checked(avcodec_alloc_context3(decoder));
  codec->pkt_timebase = stream.time_base;  // needed to drop an audio encoder's padding, and for times
  int code = avcodec_parameters_to_context(codec.get(), &parameters);
  if (code >= 0) code = avcodec_open2(codec.get(), decoder, options);
  if (code < 0)
    throw Refused{std::string("its ") + what + " (" + decoder->name + ") cannot be decoded: " + reason(code)};
  return codec;
}

}  // namespace trine::detail
