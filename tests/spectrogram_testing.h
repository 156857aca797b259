#pragma once

#include <string>
#include <vector>

#include "trine/embedder.h"
#include "vision_testing.h"

/// What the tests of the families that hear spectrograms share: the cases of make_spectrograms.py.

namespace trine::testing {

inline const fs::path kSpectrograms = fs::path(TRINE_TEST_DATA) / "golden/spectrograms";

inline std::string spectrograms(const std::string& name) { return (kSpectrograms / name).string(); }

/// The first samples of the clip that all cases share.
inline Audio clip_of(std::int64_t samples, int rate) {
  static const torch::Tensor clip =
      (load_tensor(Checkpoint::open(kSpectrograms / "clip.safetensors"), "clip").to(torch::kFloat32) / 32'768)
          .contiguous();
  const float* begin = clip.const_data_ptr<float>();
  return {rate, {begin, begin + samples}};
}

/// As `make_spectrograms.py` stores them: of fusion the first of equal ones, and every fourth frame and band.
inline torch::Tensor thinned(const torch::Tensor& found, const torch::Tensor& wanted) {
  if (found.dim() == 2 || found.size(0) == 1) return found;
  return found.slice(0, 0, wanted.size(0)).slice(1, 0, std::nullopt, 4).slice(2, 0, std::nullopt, 4);
}

/// Features within 1e-4 and the vector of each length in the case, of clips that fit the window.
inline void expect_clips(const Golden& golden, const AudioEncoder& encoder) {
  int compared = 0;
  for (const std::string& name : golden.names("vector.")) {
    const auto samples = static_cast<std::int64_t>(std::stoll(name));
    if (static_cast<double>(samples) > encoder.max_seconds() * encoder.sample_rate()) continue;
    const Audio clip = clip_of(samples, encoder.sample_rate());
    const torch::Tensor wanted = golden.tensor("features." + name);
    EXPECT_LT(largest_difference(thinned(encoder.preprocess(clip), wanted), wanted), 1e-4) << name;
    expect_features(encoder.encode(clip), golden.tensor("vector." + name).unsqueeze(0),
                    golden.directory.string() + name);
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

/// One vector whatever the threads, and the same at another rate as of the resampled clip.
inline void expect_steady(const AudioEncoder& encoder) {
  const Audio clip = clip_of(2'000, encoder.sample_rate());
  const auto [one, two] = with_one_and_two_threads([&] { return encoder.encode(clip); });
  EXPECT_LT(largest_difference(one, two), 1e-5);
  EXPECT_EQ(one.sizes(), (std::vector<std::int64_t>{1, encoder.dim()}));
  EXPECT_FALSE(one.requires_grad());
  const Audio other = clip_of(4'000, 44'100);
  const Audio resampled{encoder.sample_rate(), resample(other.samples, 44'100, encoder.sample_rate())};
  EXPECT_EQ(largest_difference(encoder.encode(other), encoder.encode(resampled)), 0);
  const auto longest = static_cast<std::int64_t>(encoder.max_seconds() * 44'100);
  EXPECT_EQ(encoder.encode({44'100, std::vector<float>(static_cast<std::size_t>(longest), 0.1F)}).size(0), 1);
}

/// The sentence with which samples are refused, "accepted" without one.
inline std::string clip_refusal(const AudioEncoder& encoder, std::size_t samples, int rate, float value = 0) {
  return refusal<std::invalid_argument>([&] { encoder.encode({rate, std::vector<float>(samples, value)}); });
}

}  // namespace trine::testing
