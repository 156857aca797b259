#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "trine/export.h"
#include "trine/fusion.h"

/// What is drawn at random in training: which modalities a sample keeps, which samples an epoch holds. Everything
/// follows from a seed.

namespace trine::train {

/// Features and masks as a fusion takes them.
struct ModalityBatch {
  Features features;
  Features masks;  ///< of every modality that has features
};

/// Drops modalities while training, so that a model learns to do without them. Each modality of each sample goes with
/// `probability`, but one always stays, chosen at random: of k modalities a sample loses each with the chance
/// p - p^k / k. Dropped is zeros in the features and false in the mask. Does nothing after `eval()`.
///
/// Errors: std::invalid_argument for a probability outside of [0, 1], shapes that do not fit, and for a sample without
/// any modality, named by its index.
class TRINE_API ModalityDropoutImpl : public torch::nn::Module {
 public:
  explicit ModalityDropoutImpl(double probability, std::uint64_t seed = 0);
  /// features (B, T, D) with masks (B, T), or (B, D) with (B); bool, as for a fusion
  ModalityBatch forward(const Features& features, const Features& masks = {});
  /// Starts the draws anew: what a step drops can depend on its number alone.
  void seed(std::uint64_t value);
  /// Of the draws: a copy that is given it draws the same. Bytes, as torch's generators have them.
  torch::Tensor state() const;
  void set_state(const torch::Tensor& state);

  double probability() const { return probability_; }

 private:
  double probability_;
  torch::Generator generator_;
};
TORCH_MODULE(ModalityDropout);

/// up: every group gets as many draws as the largest has samples; down: as the smallest has.
enum class Sampling { up, down };

/// The order of samples in an epoch in which each group counts the same.
///
///     BalancedSampler sampler(groups_of({{"image", has_image}, {"audio", has_audio}}), Sampling::up, /*seed=*/1);
///     for (std::int64_t i : sampler.indices(epoch)) ...
///
/// The draws of a group use each of its samples equally often, up to one. Each run of as many indices as there are
/// groups holds every group once, so batches are balanced too. Time and memory grow with the length.
class TRINE_API BalancedSampler {
 public:
  /// `groups`: the group of each sample, any numbers. Errors: std::invalid_argument without samples.
  explicit BalancedSampler(const std::vector<std::int64_t>& groups, Sampling sampling = Sampling::up,
                           std::uint64_t seed = 0);

  std::int64_t size() const;  ///< indices of an epoch
  /// Depends on the seed and the epoch (from 0) alone, on any machine.
  std::vector<std::int64_t> indices(std::int64_t epoch) const;

 private:
  std::vector<std::vector<std::int64_t>> members_;  ///< by group
  std::size_t draws_;                               ///< of each group
  std::uint64_t seed_;
};

/// Samples that have the same modalities are a group. (N) bool by modality -> N numbers
TRINE_API std::vector<std::int64_t> groups_of(const Features& present);

}  // namespace trine::train
