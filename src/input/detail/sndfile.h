#pragma once

#include <optional>
#include <vector>

#include "detail/file.h"

namespace trine::detail {

class MonoSink;

/// A WAV file reduced to what its samples need: a fresh header (RIFF, fmt, data) and the bytes of its data chunk.
struct PlainWave {
  std::vector<std::byte> header;
  Bytes data;
};

/// None for WAV files of other kinds than PCM, float, A-law and u-law, and for those without a fmt and a data chunk.
///
/// libsndfile's blockwise codecs (ADPCM, GSM, G.721 ...) and its readers for optional chunks have a history of
/// overflows at the moment a file is opened, before a caller could look at the codec. So libsndfile never sees the
/// file's own chunks: what is checked here is what it reads.
std::optional<PlainWave> plain_wave(Bytes file);

enum class SndfileFormat { kWave, kFlac, kOgg };

/// Decodes `head` followed by `body` with libsndfile, which must find it to be of `format`.
/// False: libsndfile does not open it; `sink` is untouched.
bool decode_with_sndfile(Bytes head, Bytes body, SndfileFormat format, MonoSink& sink);

}  // namespace trine::detail
