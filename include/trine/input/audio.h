#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "trine/export.h"

namespace trine {

/// Mono samples, nominally in [-1, 1].
struct Audio {
  int sample_rate = 0;  ///< Hz
  std::vector<float> samples;

  double seconds() const { return sample_rate > 0 ? static_cast<double>(samples.size()) / sample_rate : 0.0; }
};

struct AudioOptions {
  int sample_rate = 16'000;  ///< Hz of the result; 0 keeps the file's
  int max_channels = 64;
  int min_sample_rate = 1'000;           ///< Hz
  int max_sample_rate = 768'000;         ///< Hz
  double max_seconds = 3'600;            ///< of the decoded clip
  std::uint64_t max_bytes = 1ull << 30;  ///< size of the encoded file
};

/// Decodes WAV, FLAC and Ogg (libsndfile), MP3, M4A, AAC, AIFF, AU, CAF, WMA, AMR, WebM, the rarer kinds of WAV and the
/// sound of a video (FFmpeg's libraries), mixes the channels down to their mean and resamples (soxr HQ). The format is
/// told from the first bytes and never guessed; no other file is opened. A file that was cut gives what it still holds.
/// Errors: std::runtime_error for what does not decode, holds no sample, is beyond the limits, or has NaN or Inf
/// samples.
TRINE_API Audio decode_audio(std::span<const std::byte> file, const AudioOptions& options = {});

/// The same from a file. A missing file is std::system_error.
TRINE_API Audio read_audio(const std::filesystem::path& path, const AudioOptions& options = {});

/// The same from interleaved samples in memory: `samples[frame * channels + channel]`. Errors: std::invalid_argument.
TRINE_API Audio make_audio(std::span<const float> samples, int channels, int sample_rate,
                           const AudioOptions& options = {});

using AudioInput = std::variant<std::filesystem::path, Audio>;  ///< a file, or mono samples at any rate

/// Whichever it is, by `read_audio` or `make_audio`.
TRINE_API Audio samples_of(const AudioInput& input, const AudioOptions& options = {});

/// What messages call it: the path, or "the clip".
TRINE_API std::string name_of(const AudioInput& input);

/// Silence at both ends cut to 60 ms, the active part (frames of 10 ms within 30 dB of the loudest) set to -24 dBFS without
/// clipping. A clip with less than 0.1 s of sound gives no samples. Errors: std::invalid_argument for rates below 100 Hz.
TRINE_API Audio trim_and_level(const Audio& clip);

/// soxr HQ from one rate to another; equal rates give a copy. (n) -> (about n * to / from)
/// Rates are 1 to 768000 Hz, and at most 16384 times the other. Errors: std::invalid_argument.
TRINE_API std::vector<float> resample(std::span<const float> samples, int from, int to);

/// Rows of a spectrogram: `values[row * columns + column]`.
struct Spectrogram {
  int rows = 0;     ///< mel bands
  int columns = 0;  ///< frames
  std::vector<float> values;
};

/// Whisper's features for 16 kHz samples: periodic Hann 400, hop 160, centred with reflection, last frame dropped,
/// power, `mel_bands` slaney mels from 0 to 8 kHz, log10 clamped at 1e-10, floor at the clip's maximum - 8, (x + 4)
/// / 4. (n) -> (mel_bands, n / 160). Reference: transformers WhisperFeatureExtractor. At least 1 sample; clips of at
/// most 200 samples, too short to reflect, are padded with zeros to 400 first. Errors: std::invalid_argument.
TRINE_API Spectrogram whisper_mel(std::span<const float> samples, int mel_bands = 80);

}  // namespace trine
