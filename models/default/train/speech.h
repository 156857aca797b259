#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "corpus.h"
#include "trine/input/audio.h"

/// What the two programs that train the speech tower share: how clips are disturbed, batched, aimed and judged.

namespace training {

struct SpeechOptions {
  std::filesystem::path encoder, text_encoder, catalogue, corpus, noise, out, run;
  std::uint64_t seed = 1;
};

/// --encoder, --text-encoder, --catalogue, --corpus, --noise, --out, --run and --seed.
void add_speech_options(CLI::App& app, SpeechOptions& options);

/// Signal-to-noise ratios at which validation clips are heard besides clean, dB.
inline constexpr std::array<double, 2> kValDecibels{10.0, 0.0};

/// Where a training clip is heard. studio: nearly as it is; outside: other speeds, a room, a recorded noise of -5 to 18
/// dB; loud: the same with noise of -8 to 8 dB, recorded, made, or two of them.
enum class Surroundings { studio, outside, loud };

void disturb(trine::Audio& clip, Surroundings surroundings, const std::vector<std::vector<float>>& noise,
             std::mt19937_64& random);

/// Sequences (T, D) side by side, zero behind the shorter ones. -> (N, T, D) fp32, mask (N, T)
std::pair<torch::Tensor, torch::Tensor> padded(const std::vector<torch::Tensor>& sequences);

/// Takes up to two stretches of at most an eighth of the clip out of a mask (N, T).
void mask_time(torch::Tensor& mask, std::mt19937_64& random);

/// Which items form each batch: of similar length, in random order, so there is little padding. What does not fill a
/// batch is left out.
std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::int64_t>& lengths, std::size_t size,
                                                 std::mt19937_64 random);

/// What clips are taken to: sentences, those of training first, and the products' titles.
struct Targets {
  std::map<std::string, std::int64_t> sentence_number;
  torch::Tensor sentences;  ///< (S, D), unit
  std::int64_t train_count = 0;
  Titles titles;
};

Targets targets_of(const std::vector<Clip>& clips, const std::filesystem::path& text_encoder,
                   const std::filesystem::path& catalogue);

struct SpeechLossOptions {
  double temperature = 0.05;
  double cosine_weight = 2.0;
  double title_weight = 1.0;  ///< of the cross-entropy over titles
};

/// Cross-entropy over all training sentences plus one minus the cosine to the right one, and for clips that mean one
/// product cross-entropy over the titles. vectors (N, D), not normalised -> scalar
torch::Tensor speech_loss(const torch::Tensor& vectors, const std::vector<const Clip*>& clips, const Targets& targets,
                          const SpeechLossOptions& options = {});

/// Share of clips whose nearest text is theirs: among the titles for the set `products`, else among the clips' own
/// sentences. vectors (N, D), of any length
double recall(const torch::Tensor& vectors, const std::vector<const Clip*>& clips, const Targets& targets);

}  // namespace training
