#include <kissfft/kissfft.hh>

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <vector>

#include "detail/error.h"
#include "trine/input/audio.h"

namespace trine {

namespace {

constexpr std::size_t kWindow = 400;  // samples of a frame, and the size of the transform
constexpr std::size_t kHop = 160;
constexpr std::size_t kBins = kWindow / 2 + 1;
constexpr double kNyquist = 8000;  // Hz
constexpr int kMaxBands = 256;

// Slaney's scale is linear below 1 kHz (3 mels in 200 Hz) and logarithmic above (27 mels for each factor of 6.4).
constexpr double kLinearEnd = 1000;  // Hz
constexpr double kLinearEndMel = 15;
const double kLogStep = 27 / std::log(6.4);

double to_mel(double hertz) {
  return hertz < kLinearEnd ? 3 * hertz / 200 : kLinearEndMel + std::log(hertz / kLinearEnd) * kLogStep;
}

double to_hertz(double mel) {
  return mel < kLinearEndMel ? 200 * mel / 3 : kLinearEnd * std::exp((mel - kLinearEndMel) / kLogStep);
}

/// One triangular filter: its weights from `first_bin` on; outside they are zero.
struct Filter {
  std::size_t first_bin = 0;
  std::vector<double> weights;
};

/// Triangles between neighbouring mel points, each of area 1 (norm "slaney"); reference: transformers.mel_filter_bank.
std::vector<Filter> make_filters(int bands) {
  std::vector<double> edges(static_cast<std::size_t>(bands) + 2);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    edges[i] = to_hertz(to_mel(kNyquist) * static_cast<double>(i) / (bands + 1));
  }
  std::vector<Filter> filters(static_cast<std::size_t>(bands));
  for (std::size_t band = 0; band < filters.size(); ++band) {
    const double low = edges[band];
    const double middle = edges[band + 1];
    const double high = edges[band + 2];
    for (std::size_t bin = 0; bin < kBins; ++bin) {
      const double hertz = kNyquist * static_cast<double>(bin) / (kBins - 1);
      const double height = std::min((hertz - low) / (middle - low), (high - hertz) / (high - middle));
      if (height <= 0) continue;
      if (filters[band].weights.empty()) filters[band].first_bin = bin;
      filters[band].weights.push_back(height * 2 / (high - low));
    }
  }
  return filters;
}

std::array<double, kWindow> make_window() {
  std::array<double, kWindow> window{};
  for (std::size_t i = 0; i < kWindow; ++i) {
    window[i] = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / kWindow);
  }
  return window;
}

/// Power spectra of the frames around every kHop-th sample, with one set of buffers.
class FrameSpectrum {
 public:
  explicit FrameSpectrum(std::span<const float> samples)
      : samples_(samples), window_(make_window()), transform_(kWindow / 2, false) {}

  /// Of the frame centred at sample `column * kHop`. -> (kBins)
  const std::array<double, kBins>& at(std::size_t column) {
    const std::size_t centre = column * kHop;
    if (centre >= kWindow / 2 && centre + kWindow / 2 <= samples_.size()) {
      const float* frame = samples_.data() + (centre - kWindow / 2);
      for (std::size_t i = 0; i < kWindow; ++i) windowed_[i] = window_[i] * static_cast<double>(frame[i]);
    } else {
      for (std::size_t i = 0; i < kWindow; ++i) windowed_[i] = window_[i] * static_cast<double>(reflected(centre + i));
    }
    transform_.transform_real(windowed_.data(), spectrum_.data());
    // The first element packs the two real bins: constant and Nyquist.
    power_[0] = spectrum_[0].real() * spectrum_[0].real();
    power_[kBins - 1] = spectrum_[0].imag() * spectrum_[0].imag();
    for (std::size_t bin = 1; bin < kBins - 1; ++bin) power_[bin] = std::norm(spectrum_[bin]);
    return power_;
  }

 private:
  /// Sample at `shifted - kWindow / 2`, mirrored at both ends without repeating them.
  float reflected(std::size_t shifted) const {
    const std::size_t half = kWindow / 2;
    const std::size_t index = shifted >= half ? shifted - half : half - shifted;
    return samples_[index < samples_.size() ? index : 2 * (samples_.size() - 1) - index];
  }

  std::span<const float> samples_;
  std::array<double, kWindow> window_;
  kissfft<double> transform_;
  std::array<double, kWindow> windowed_{};
  std::array<std::complex<double>, kWindow / 2> spectrum_{};
  std::array<double, kBins> power_{};
};

}  // namespace

Spectrogram whisper_mel(std::span<const float> samples, int mel_bands) {
  constexpr const char* kWho = "whisper_mel";
  if (samples.empty()) detail::bad_argument(kWho, "at least 1 sample is wanted, there is none");
  if (mel_bands < 1 || mel_bands > kMaxBands) {
    detail::bad_argument(kWho, "1 to ", kMaxBands, " mel bands are possible, wanted were ", mel_bands);
  }
  if (samples.size() / kHop > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    detail::bad_argument(kWho, samples.size(), " samples are too many for one spectrogram");
  }
  if (!std::all_of(samples.begin(), samples.end(), [](float sample) { return std::isfinite(sample); })) {
    detail::bad_argument(kWho, "the samples must be finite, there are NaN or infinite ones");
  }
  std::vector<float> padded;
  if (samples.size() <= kWindow / 2) {
    padded.assign(samples.begin(), samples.end());
    padded.resize(kWindow);
    samples = padded;
  }

  const std::vector<Filter> filters = make_filters(mel_bands);
  const std::size_t columns = samples.size() / kHop;
  Spectrogram mel{mel_bands, static_cast<int>(columns), std::vector<float>(filters.size() * columns)};
  FrameSpectrum spectrum(samples);
  double loudest = -std::numeric_limits<double>::infinity();
  for (std::size_t column = 0; column < columns; ++column) {
    const std::array<double, kBins>& power = spectrum.at(column);
    for (std::size_t band = 0; band < filters.size(); ++band) {
      double sum = 0;
      const double* bins = power.data() + filters[band].first_bin;
      for (std::size_t i = 0; i < filters[band].weights.size(); ++i) sum += filters[band].weights[i] * bins[i];
      const double level = std::log(std::max(sum, 1e-10)) * std::numbers::log10e;
      loudest = std::max(loudest, level);
      mel.values[band * columns + column] = static_cast<float>(level);
    }
  }
  const auto floor = static_cast<float>(loudest - 8);
  for (float& value : mel.values) value = (std::max(value, floor) + 4) / 4;
  return mel;
}

}  // namespace trine
