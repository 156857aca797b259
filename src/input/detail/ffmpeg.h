#pragma once

#include "detail/file.h"

namespace trine::detail {

class MonoSink;

/// Decodes the default (else the first) sound track of `file` with FFmpeg's demuxer of that name; nothing is guessed
/// from the content. FFmpeg sees this memory only: opening anything else (a file, the network) is refused, decoders
/// outside a list of common audio codecs are never started, and what it reads is bounded by the size of the file. A
/// packet that does not decode is an error, unless it is the end of a file that was cut.
void decode_with_ffmpeg(Bytes file, const char* demuxer, MonoSink& sink);

/// Stops before the first packet: refuses a file without a sound track or whose codec header is damaged.
void check_with_ffmpeg(Bytes file, const char* demuxer, MonoSink& sink);

}  // namespace trine::detail
