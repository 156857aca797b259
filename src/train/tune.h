#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trine/embedder.h"
#include "trine/train/fit.h"

/// Towers that learn with the model of a task.

namespace trine::train {

/// The model in `folder`, on the device of `other`.
Embedder load_beside(const Embedder& other, const std::filesystem::path& folder);

/// A copy of the caller's embedder, some of whose towers are trained. The caller's stays as it is.
class TunedTowers {
 public:
  /// Of `options`: tune, tune_blocks, tower_batch. Errors: std::invalid_argument for a modality that the model lacks, a
  /// family that cannot be trained, more blocks than a tower has, and for weights that are not those of its folder.
  TunedTowers(const Embedder& model, const FitOptions& options);

  /// Whose vectors are made: `samples` without what could not be read, as the features of a FeatureStore have them.
  void set_samples(const std::vector<Sample>& samples, const std::vector<SkippedInput>& skipped);

  const Embedder& model() const { return embedder_; }
  /// The weights that are trained, as a module of parameters.
  const std::shared_ptr<torch::nn::Module>& module() const { return module_; }

  /// Replaces the features of the tuned modalities, where `masks` says that they are there, by what the towers make of
  /// the inputs now. `samples` (B) int64: the numbers of the batch's samples.
  void embed(Features& features, const Features& masks, const torch::Tensor& samples, bool gradients) const;

  /// Writes the model, see Embedder::save.
  void save(const std::filesystem::path& directory) const { embedder_.save(directory); }

 private:
  torch::Tensor embed_recorded(Modality modality, const std::vector<std::string>& inputs) const;

  Embedder embedder_;
  std::int64_t most_together_;
  std::map<Modality, std::vector<std::vector<std::string>>> inputs_;  ///< of each sample
  std::shared_ptr<torch::nn::Module> module_ = std::make_shared<torch::nn::Module>();
};

}  // namespace trine::train
