#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

#include <cstdint>
#include <memory>
#include <string>

#include "detail/file.h"

/// A file opened by FFmpeg's demuxer of a given name; nothing is guessed from the content. FFmpeg sees this file only:
/// opening anything else (another file, the network) is refused, decoders outside a given list are never started, and
/// what it reads is bounded by the size of the file.

namespace trine::detail {

/// Why a file is not read, without its name.
struct Refused {
  std::string why;
};

/// Frees what libavcodec and libavformat allocate.
struct FreeMedia {
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
};
template <typename T>
using Media = std::unique_ptr<T, FreeMedia>;

/// A fresh packet or frame; std::bad_alloc where there is no memory.
Media<AVPacket> new_packet();
Media<AVFrame> new_frame();

/// What FFmpeg calls an error.
std::string reason(int code);

/// Bytes in memory, or in a file that is open for as long as they are read.
struct MediaSource {
  Bytes memory = {};
  const InputFile* file = nullptr;

  std::uint64_t size() const { return file != nullptr ? file->size() : memory.size(); }
};

class Container {
 public:
  /// `decoders`: those that may be started, by FFmpeg's names, with commas between them. Throws Refused.
  Container(const MediaSource& source, const char* demuxer, const char* decoders);

  Container(const Container&) = delete;  // FFmpeg holds the address of the cursor
  Container& operator=(const Container&) = delete;

  AVFormatContext& format() { return *format_; }
  const AVStream& stream(int index) const { return *format_->streams[index]; }

  /// The first stream of a type that is marked as default and `fits`, else the first that fits; -1: none.
  /// (av_find_best_stream passes over tracks whose header says nothing of rate and channels, as raw AAC.)
  template <typename Fits>
  int find(AVMediaType type, const Fits& fits) const {
    int first = -1;
    for (unsigned i = 0; i < format_->nb_streams; ++i) {
      const AVStream& stream = *format_->streams[i];
      if (stream.codecpar->codec_type != type || !fits(stream)) continue;
      if ((stream.disposition & AV_DISPOSITION_DEFAULT) != 0) return static_cast<int>(i);
      if (first < 0) first = static_cast<int>(i);
    }
    return first;
  }

  /// The next packet; false at the end. More packets or bytes than the file can hold are Refused.
  bool read(AVPacket& packet);

 private:
  /// Position in the file and how much may still be read: a hostile index can point to the same bytes over and over.
  struct Cursor {
    MediaSource source;
    std::uint64_t position = 0;
    std::uint64_t budget = 0;
  };
  static int read_some(void* user, std::uint8_t* out, int count);
  static std::int64_t seek(void* user, std::int64_t offset, int whence);

  Cursor cursor_;
  std::uint64_t packets_left_;
  std::uint64_t bytes_left_;
  Media<AVIOContext> io_;
  Media<AVFormatContext> format_;
};

/// A decoder of a stream, which must be one of the container's list. Throws Refused; `what` is "sound" or "picture".
Media<AVCodecContext> open_decoder(const AVStream& stream, const char* decoders, const char* what,
                                   AVDictionary** options = nullptr);

}  // namespace trine::detail
