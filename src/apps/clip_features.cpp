#include "apps/clip_features.h"

#include <algorithm>
#include <span>
#include <vector>

#include "detail/error.h"
#include "trine/layers.h"

namespace trine::detail {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr int kRate = 16'000;          // Hz
constexpr std::size_t kHop = 160;      // samples of a mel frame
constexpr double kShortestClip = 0.1;  // seconds

}  // namespace

ClipFeatures::ClipFeatures(const char* who, const fs::path& whisper)
    : who_(who), config_(WhisperConfig::load(whisper / "config.json")), encoder_(config_) {
  const Checkpoint checkpoint = Checkpoint::open(whisper);
  // WhisperForConditionalGeneration writes "model.encoder.", WhisperModel writes "encoder."
  load_weights(*encoder_, checkpoint,
               checkpoint.contains("model.encoder.conv1.weight") ? "model.encoder." : "encoder.");
  encoder_->eval();
}

Tensor ClipFeatures::of(const AudioInput& audio, std::int64_t block) const {
  const Audio clip = samples_of(audio, {.sample_rate = kRate});
  if (clip.seconds() < kShortestClip) {
    failure(who_, name_of(audio), " lasts ", clip.seconds(), " s, at least ", kShortestClip, " s is wanted");
  }
  if (std::ranges::all_of(clip.samples, [](float sample) { return sample == 0; })) {
    failure(who_, name_of(audio), " is silent");
  }
  const std::size_t longest = static_cast<std::size_t>(2 * config_.max_source_positions) * kHop;
  const auto shortest = static_cast<std::size_t>(kShortestClip * kRate);
  std::vector<Tensor> steps;
  for (std::size_t first = 0; first < clip.samples.size(); first += longest) {
    const std::size_t last = std::min(first + longest, clip.samples.size());
    if (first > 0 && last - first < shortest) break;  // a rest too short to hear
    Spectrogram mel =
        whisper_mel(std::span(clip.samples).subspan(first, last - first), static_cast<int>(config_.num_mel_bins));
    steps.push_back(place_.run([&](const Tensor& x) { return encoder_->begin(x, block)[0]; },
                               torch::from_blob(mel.values.data(), {1, mel.rows, mel.columns})));
  }
  const Tensor all = torch::cat(steps);
  return torch::cat({all.mean(0), all.std(0, /*unbiased=*/false)});
}

}  // namespace trine::detail
