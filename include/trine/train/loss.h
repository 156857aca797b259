#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "trine/export.h"
#include "trine/fusion.h"

namespace trine::train {

struct AnchorLossOptions {
  double temperature = 0.05;
  double label_smoothing = 0.0;  ///< share of the target spread over all anchors
  double cosine_weight = 1.0;    ///< of the second term
};

/// Pulls vectors to fixed targets in a shared space: cross-entropy of softmax(cosine / temperature) over all anchors,
/// plus cosine_weight * (1 - cosine to the target). vectors (N, D), not normalised; anchors (K, D), unit; targets (N,
/// K), each row a distribution over the anchors -> scalar
TRINE_API torch::Tensor anchor_loss(const torch::Tensor& vectors, const torch::Tensor& anchors,
                                    const torch::Tensor& targets, const AnchorLossOptions& options = {});

/// Two modalities whose vectors of one sample belong together.
struct ContrastivePair {
  std::string first;
  std::string second;
  double weight = 1.0;  ///< of its loss; 0 leaves it out
};

struct ContrastiveLossOptions {
  std::variant<double, torch::Tensor> temperature = 0.07;  ///< above 0; a tensor () to learn it
  torch::Tensor ids =
      {};                 ///< (B) integers: samples of one id are positives of each other. Default: each only of itself
  Features present = {};  ///< (B) bool by modality: which samples have it. Default: all
  std::vector<ContrastivePair> pairs = {{"image", "text", 0.5}, {"audio", "text", 0.25}, {"audio", "image", 0.25}};
};

/// Symmetric InfoNCE, the weighted mean over pairs of modalities. embeddings (B, D) by modality, normalised here
/// -> scalar. A pair uses the samples that have both modalities; one with fewer than two is left out, and if none is
/// left it is std::invalid_argument. Vectors of samples that lack a modality do not matter and get no gradient.
/// Source: https://arxiv.org/abs/2103.00020; the numbers are the PyTorch reference's, see tests/golden/make_fusion.py.
TRINE_API torch::Tensor contrastive_loss(const Features& embeddings, const ContrastiveLossOptions& options = {});

/// The same as a module, with a temperature that is fixed or learned. Learned, its inverse is kept as a logarithm in
/// the parameter `logit_scale` and never exceeds 100; std::invalid_argument for a temperature below 0.01.
class TRINE_API ContrastiveLossImpl : public torch::nn::Module {
 public:
  explicit ContrastiveLossImpl(double temperature = 0.07, bool learnable = false,
                               const std::vector<ContrastivePair>& pairs = ContrastiveLossOptions().pairs);
  torch::Tensor forward(const Features& embeddings, const torch::Tensor& ids = {}, const Features& present = {});

  double temperature() const;  ///< as it is now
  bool learnable() const { return logit_scale_.defined(); }
  const std::vector<ContrastivePair>& pairs() const { return pairs_; }
  void save(const std::filesystem::path& directory) const;  ///< config.json and model.safetensors
  static std::shared_ptr<ContrastiveLossImpl> load(const std::filesystem::path& directory);

 private:
  double temperature_;  ///< at the start
  std::vector<ContrastivePair> pairs_;
  torch::Tensor logit_scale_;
};
TORCH_MODULE(ContrastiveLoss);

}  // namespace trine::train
