#include <kissfft/kissfft.hh>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "detail/error.h"
#include "trine/input/audio.h"

namespace trine {

namespace {

constexpr int kMaxRate = 768'000;  // Hz
constexpr int kMaxTransform = 16'384;
constexpr int kMaxBands = 1'024;
constexpr std::size_t kMaxValues = std::size_t{1} << 28;  // of a spectrogram

// Slaney's scale is linear below 1 kHz (3 mels in 200 Hz) and logarithmic above (27 mels for each factor of 6.4).
constexpr double kLinearEnd = 1000;  // Hz
constexpr double kLinearEndMel = 15;
const double kLogStep = 27 / std::log(6.4);

// Whisper's frames
constexpr int kWhisperWindow = 400;  // samples
constexpr int kWhisperHop = 160;
constexpr int kWhisperMaxBands = 256;

double to_mel(double hertz, MelScale scale) {
  switch (scale) {
    case MelScale::slaney:
      return hertz < kLinearEnd ? 3 * hertz / 200 : kLinearEndMel + std::log(hertz / kLinearEnd) * kLogStep;
    case MelScale::htk:
      return 2595 * std::log10(1 + hertz / 700);
    case MelScale::kaldi:
      return 1127 * std::log(1 + hertz / 700);
  }
  detail::bad_argument("log_mel", "unknown mel scale ", static_cast<int>(scale));
}

/// Kaldi's scale needs no way back: its triangles stay in mels.
double to_hertz(double mel, MelScale scale) {
  if (scale == MelScale::htk) return 700 * (std::pow(10, mel / 2595) - 1);
  return mel < kLinearEndMel ? 200 * mel / 3 : kLinearEnd * std::exp((mel - kLinearEndMel) / kLogStep);
}

/// One triangular filter: its weights from `first_bin` on; outside they are zero.
struct Filter {
  std::size_t first_bin = 0;
  std::vector<double> weights;
};

/// Triangles between neighbouring mel points; reference: transformers.audio_utils.mel_filter_bank.
std::vector<Filter> make_filters(const MelOptions& options) {
  const bool in_mels = options.scale == MelScale::kaldi;
  const auto bands = static_cast<std::size_t>(options.bands),
             bins = static_cast<std::size_t>(options.transform) / 2 + 1;
  const double lowest = to_mel(options.low, options.scale), highest = to_mel(options.high, options.scale);
  std::vector<double> edges(bands + 2);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const double mel = lowest + (highest - lowest) * static_cast<double>(i) / static_cast<double>(bands + 1);
    edges[i] = in_mels ? mel : to_hertz(mel, options.scale);
  }
  std::vector<double> places(bins);  // of the bins, on the axis of the edges
  for (std::size_t bin = 0; bin < bins; ++bin) {
    const auto step = static_cast<double>(bin);
    // the reference halves the rate as a whole number, except for Kaldi's
    places[bin] = in_mels ? to_mel(options.sample_rate * step / options.transform, options.scale)
                          : options.sample_rate / 2 * step / static_cast<double>(bins - 1);
  }
  std::vector<Filter> filters(bands);
  for (std::size_t band = 0; band < bands; ++band) {
    const double low = edges[band], middle = edges[band + 1], high = edges[band + 2];
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const double height = std::min((places[bin] - low) / (middle - low), (high - places[bin]) / (high - middle));
      if (height <= 0) continue;
      if (filters[band].weights.empty()) filters[band].first_bin = bin;
      filters[band].weights.push_back(options.equal_area ? height * 2 / (high - low) : height);
    }
  }
  return filters;
}

std::vector<double> make_window(const MelOptions& options) {
  std::vector<double> window(static_cast<std::size_t>(options.window), 1.0);
  const int period = options.shape == MelWindow::hann ? options.window : options.window - 1;
  for (std::size_t i = 0; i < window.size() && period > 0; ++i) {
    const double hann = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / period);
    window[i] = options.shape == MelWindow::povey ? std::pow(hann, 0.85) : hann;
  }
  return window;
}

/// Power spectra of frames, with one set of buffers.
class FrameSpectrum {
 public:
  FrameSpectrum(std::span<const float> samples, const MelOptions& options)
      : samples_(samples),
        hop_(static_cast<std::size_t>(options.hop)),
        before_(options.centred ? static_cast<std::size_t>(options.window) / 2 : 0),
        remove_mean_(options.remove_mean),
        preemphasis_(options.preemphasis),
        window_(make_window(options)),
        transform_(static_cast<std::size_t>(options.transform) / 2, false),
        frame_(static_cast<std::size_t>(options.transform)),
        spectrum_(frame_.size() / 2),
        power_(frame_.size() / 2 + 1) {}

  /// -> (transform / 2 + 1)
  const std::vector<double>& at(std::size_t column) {
    const std::size_t start = column * hop_, size = window_.size();  // of the frame, `before_` samples ahead
    if (start >= before_ && start - before_ + size <= samples_.size()) {
      std::copy_n(samples_.begin() + static_cast<std::ptrdiff_t>(start - before_), size, frame_.begin());
    } else {
      for (std::size_t i = 0; i < size; ++i) frame_[i] = static_cast<double>(reflected(start + i));
    }
    if (remove_mean_) {
      double sum = 0;
      for (std::size_t i = 0; i < size; ++i) sum += frame_[i];
      for (std::size_t i = 0; i < size; ++i) frame_[i] -= sum / static_cast<double>(size);
    }
    if (preemphasis_ != 0) {
      for (std::size_t i = size - 1; i > 0; --i) frame_[i] -= preemphasis_ * frame_[i - 1];
      frame_[0] *= 1 - preemphasis_;
    }
    for (std::size_t i = 0; i < size; ++i) frame_[i] *= window_[i];
    transform_.transform_real(frame_.data(), spectrum_.data());
    // The first element packs the two real bins: constant and Nyquist.
    power_.front() = spectrum_[0].real() * spectrum_[0].real();
    power_.back() = spectrum_[0].imag() * spectrum_[0].imag();
    for (std::size_t bin = 1; bin < spectrum_.size(); ++bin) power_[bin] = std::norm(spectrum_[bin]);
    return power_;
  }

 private:
  /// Sample at `shifted - before_`, mirrored at both ends without repeating them, as often as needed.
  float reflected(std::size_t shifted) const {
    if (samples_.size() == 1) return samples_[0];
    const std::size_t period = 2 * (samples_.size() - 1);
    const std::size_t index = (shifted >= before_ ? shifted - before_ : before_ - shifted) % period;
    return samples_[std::min(index, period - index)];
  }

  std::span<const float> samples_;
  std::size_t hop_;
  std::size_t before_;
  bool remove_mean_;
  double preemphasis_;
  std::vector<double> window_;
  kissfft<double> transform_;
  std::vector<double> frame_;  ///< zeros behind the window
  std::vector<std::complex<double>> spectrum_;
  std::vector<double> power_;
};

double logarithm(double power, MelLog log) {
  switch (log) {
    case MelLog::natural:
      return std::log(power);
    case MelLog::common:
      return std::log(power) * std::numbers::log10e;
    case MelLog::decibel:
      return 10 * std::log10(power);
  }
  detail::bad_argument("log_mel", "unknown logarithm ", static_cast<int>(log));
}

void check_samples(const char* who, std::span<const float> samples) {
  if (samples.empty()) detail::bad_argument(who, "at least 1 sample is wanted, there is none");
  if (!std::all_of(samples.begin(), samples.end(), [](float sample) { return std::isfinite(sample); })) {
    detail::bad_argument(who, "the samples must be finite, there are NaN or infinite ones");
  }
}

void check(const MelOptions& options) {
  const auto refuse_unless = [](bool right, const auto&... parts) {
    if (!right) detail::bad_argument("log_mel", parts...);
  };
  const auto check_size = [&](const char* name, int size, int most) {
    refuse_unless(size >= 1 && size <= most, name, " is ", size, ", wanted 1 to ", most);
  };
  check_size("sample_rate", options.sample_rate, kMaxRate);
  check_size("transform", options.transform, kMaxTransform);
  check_size("window", options.window, options.transform);
  check_size("hop", options.hop, kMaxRate);
  check_size("bands", options.bands, kMaxBands);
  refuse_unless(options.transform % 2 == 0, "transform is ", options.transform, ", wanted an even number");
  refuse_unless(options.low >= 0 && options.low < options.high && options.high <= kMaxRate, "low and high are ",
                options.low, " and ", options.high, ", wanted 0 <= low < high <= ", kMaxRate);
  refuse_unless(options.preemphasis >= 0 && options.preemphasis <= 1, "preemphasis is ", options.preemphasis,
                ", wanted 0 to 1");
  refuse_unless(options.floor > 0 && std::isfinite(options.floor), "floor is ", options.floor, ", wanted above 0");
}

/// The first `columns` frames.
Spectrogram first_frames(std::span<const float> samples, const MelOptions& options, std::size_t columns) {
  const std::vector<Filter> filters = make_filters(options);
  if (columns > kMaxValues / filters.size()) {
    detail::bad_argument("log_mel", samples.size(), " samples are too many for one spectrogram");
  }
  Spectrogram mel{options.bands, static_cast<int>(columns), std::vector<float>(filters.size() * columns)};
  FrameSpectrum spectrum(samples, options);
  for (std::size_t column = 0; column < columns; ++column) {
    const std::vector<double>& power = spectrum.at(column);
    for (std::size_t band = 0; band < filters.size(); ++band) {
      double sum = 0;
      const double* bins = power.data() + filters[band].first_bin;
      for (std::size_t i = 0; i < filters[band].weights.size(); ++i) sum += filters[band].weights[i] * bins[i];
      mel.values[band * columns + column] = static_cast<float>(logarithm(std::max(sum, options.floor), options.log));
    }
  }
  return mel;
}

}  // namespace

Spectrogram log_mel(std::span<const float> samples, const MelOptions& options) {
  check(options);
  check_samples("log_mel", samples);
  const auto window = static_cast<std::size_t>(options.window), hop = static_cast<std::size_t>(options.hop);
  if (!options.centred && samples.size() < window) {
    detail::bad_argument("log_mel", "at least ", window, " samples are wanted, a whole frame, there are ",
                         samples.size());
  }
  const std::size_t padded = options.centred ? samples.size() + window / 2 * 2 : samples.size();
  return first_frames(samples, options, padded < window ? 0 : 1 + (padded - window) / hop);
}

Spectrogram whisper_mel(std::span<const float> samples, int mel_bands) {
  constexpr const char* kWho = "whisper_mel";
  check_samples(kWho, samples);
  if (mel_bands < 1 || mel_bands > kWhisperMaxBands) {
    detail::bad_argument(kWho, "1 to ", kWhisperMaxBands, " mel bands are possible, wanted were ", mel_bands);
  }
  std::vector<float> padded;
  if (samples.size() <= kWhisperWindow / 2) {
    padded.assign(samples.begin(), samples.end());
    padded.resize(kWhisperWindow);
    samples = padded;
  }
  const MelOptions options{.window = kWhisperWindow,
                           .hop = kWhisperHop,
                           .transform = kWhisperWindow,
                           .bands = mel_bands,
                           .low = 0,
                           .high = 8'000,
                           .scale = MelScale::slaney,
                           .equal_area = true,
                           .shape = MelWindow::hann,
                           .centred = true,
                           .remove_mean = false,
                           .preemphasis = 0,
                           .floor = 1e-10,
                           .log = MelLog::common};
  Spectrogram mel = first_frames(samples, options, samples.size() / kWhisperHop);
  if (mel.values.empty()) return mel;
  const float floor = *std::max_element(mel.values.begin(), mel.values.end()) - 8;
  for (float& value : mel.values) value = (std::max(value, floor) + 4) / 4;
  return mel;
}

}  // namespace trine
