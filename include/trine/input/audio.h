#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
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

/// Silence at both ends cut to 60 ms, the active part (frames of 10 ms within 30 dB of the loudest) set to -24 dBFS without
/// clipping. A clip with less than 0.1 s of sound gives no samples. `begin`: the place of the result's first sample in the
/// clip, in seconds. Errors: std::invalid_argument for rates below 100 Hz.
TRINE_API Audio trim_and_level(const Audio& clip, double* begin = nullptr);

/// soxr HQ from one rate to another; equal rates give a copy. (n) -> (about n * to / from)
/// Rates are 1 to 768000 Hz, and at most 16384 times the other. Errors: std::invalid_argument.
TRINE_API std::vector<float> resample(std::span<const float> samples, int from, int to);

/// Rows of a spectrogram: `values[row * columns + column]`.
struct Spectrogram {
  int rows = 0;     ///< mel bands
  int columns = 0;  ///< frames
  std::vector<float> values;
};

/// How mels follow from Hz: linear below 1 kHz and logarithmic above (slaney), or 2595 log10(1 + f / 700) (htk).
/// Kaldi's are htk's with triangles that are straight over mels instead of Hz.
enum class MelScale { slaney, htk, kaldi };

/// `symmetric_hann` ends with zero, `hann` would with the next sample; `povey` is symmetric_hann to the power 0.85.
enum class MelWindow { hann, symmetric_hann, povey };

enum class MelLog { natural, common, decibel };

/// A filter bank over the power spectra of frames; the defaults are those of torchaudio.compliance.kaldi.fbank.
struct MelOptions {
  int sample_rate = 16'000;  ///< Hz
  int window = 400;          ///< samples of a frame
  int hop = 160;             ///< samples from a frame to the next
  int transform = 512;       ///< samples of the Fourier transform, even: zeros follow the window
  int bands = 128;
  double low = 20;  ///< Hz, where the first triangle begins
  double high = 8'000;
  MelScale scale = MelScale::kaldi;
  bool equal_area = false;  ///< triangles of area 1 (norm "slaney") instead of height 1
  MelWindow shape = MelWindow::povey;
  bool centred =
      false;  ///< frames around every hop-th sample, mirrored at the ends; else whole frames only ("snip_edges")
  bool remove_mean = true;  ///< of each frame
  double preemphasis = 0.97;
  double floor = 0x1p-23;  ///< least power
  MelLog log = MelLog::natural;
};

/// Logarithm of the power in each band, frame by frame. (n) -> (bands, frames): 1 + n / hop frames where centred, else
/// 1 + (n - window) / hop, for at least `window` samples. Reference: transformers.audio_utils.spectrogram, to 1e-4.
/// Errors: std::invalid_argument for options without sense, no samples, NaN or infinite ones, or more than 2^28 values.
TRINE_API Spectrogram log_mel(std::span<const float> samples, const MelOptions& options);

/// Whisper's features for 16 kHz samples: periodic Hann 400, hop 160, centred with reflection, last frame dropped,
/// power, `mel_bands` slaney mels from 0 to 8 kHz, log10 clamped at 1e-10, floor at the clip's maximum - 8, (x + 4)
/// / 4. (n) -> (mel_bands, n / 160). Reference: transformers WhisperFeatureExtractor. At least 1 sample; clips of at
/// most 200 samples, too short to reflect, are padded with zeros to 400 first. Errors: std::invalid_argument.
TRINE_API Spectrogram whisper_mel(std::span<const float> samples, int mel_bands = 80);

}  // namespace trine
