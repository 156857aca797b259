#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trine/attention.h"
#include "trine/export.h"
#include "trine/layers.h"

/// Learned combinations of the sequences of several modalities, whose names are the caller's.
///
/// Features are (B, T, D) by modality, T may differ between them; masks are (B, T) bool, true = a real step. A modality
/// without a mask is wholly real, one without features is absent for all; a sample lacks a modality where its mask has
/// no real step. What padded steps hold does not matter. A real step that is not finite makes the results of its sample
/// not finite, and no other's.
///
/// New modules hold random weights, ready to be trained, with dropout 0.1 until `eval()`. Keys of the state_dict are
/// those of the PyTorch reference, see tests/golden/make_fusion.py.
/// Errors: std::invalid_argument for names, shapes and types that do not fit, and for a sample without any modality,
/// named by its index; std::runtime_error for files.

namespace trine {

using Features = std::map<std::string, torch::Tensor>;  ///< by modality

enum class FusionType { early, late, hybrid, attention };

TRINE_API std::string_view to_string(FusionType type);
/// "early", "late", "hybrid" or "attention"; another name is std::invalid_argument.
TRINE_API FusionType fusion_type(std::string_view name);

struct FusionOptions {
  std::vector<std::string> modalities;  ///< names without a dot, each once
  std::int64_t hidden_dim = 0;          ///< D
  std::int64_t num_heads = 8;
  std::int64_t num_layers = 1;        ///< of the encoders of early, late and hybrid
  std::int64_t num_self_layers = 1;   ///< of the encoders of attention
  std::int64_t num_cross_layers = 1;  ///< of attention
  std::int64_t ff_dim = 2048;         ///< width inside the encoders' layers
};

struct Fused {
  torch::Tensor vector;  ///< (B, D)
  Features weights;      ///< (B) by modality: what each counts, 0 where it is missing, summing to 1
};

/// One modality of a batch: steps (B, T, D), zeros where the mask (B, T) is false.
struct ModalitySteps {
  std::string modality;
  torch::Tensor x;
  torch::Tensor mask;
};

/// What the four fusions have in common.
///
///     trine::Fusion fusion = trine::make_fusion(trine::FusionType::attention,
///                                               {.modalities = {"image", "text"}, .hidden_dim = 64});
///     fusion->eval();
///     auto [vector, weights] = fusion->forward({{"image", image}, {"text", text}}, {{"text", text_mask}});
class TRINE_API FusionImpl : public torch::nn::Module {
 public:
  Fused forward(const Features& features, const Features& masks = {}) const;
  /// The same of steps that have been checked, in the order of the modalities.
  virtual Fused fuse(const std::vector<ModalitySteps>& steps) const = 0;

  FusionType type() const { return type_; }
  const FusionOptions& options() const { return options_; }
  void save(const std::filesystem::path& directory) const;  ///< config.json and model.safetensors
  static std::shared_ptr<FusionImpl> load(const std::filesystem::path& directory);

 protected:
  FusionImpl(FusionType type, const FusionOptions& options);

 private:
  FusionType type_;
  FusionOptions options_;
};
TORCH_MODULE(Fusion);

TRINE_API Fusion make_fusion(FusionType type, const FusionOptions& options);

/// All steps in one sequence from the first layer, each with its modality's learned vector added, then their mean. The
/// weights are the modalities' shares of the steps.
class TRINE_API EarlyFusionImpl : public FusionImpl {
 public:
  explicit EarlyFusionImpl(const FusionOptions& options);
  Fused fuse(const std::vector<ModalitySteps>& steps) const override;

 private:
  Features embedding_;
  TransformerEncoder encoder_{nullptr};
};
TORCH_MODULE(EarlyFusion);

/// Each modality alone to its mean; then a softmax over learned scores of those that a sample has.
class TRINE_API LateFusionImpl : public FusionImpl {
 public:
  explicit LateFusionImpl(const FusionOptions& options);
  Fused fuse(const std::vector<ModalitySteps>& steps) const override;

 private:
  std::map<std::string, TransformerEncoder> encoders_;
  Features scores_;
};
TORCH_MODULE(LateFusion);

/// Early and late side by side, joined by one linear layer. The weights are the late branch's.
class TRINE_API HybridFusionImpl : public FusionImpl {
 public:
  explicit HybridFusionImpl(const FusionOptions& options);
  Fused fuse(const std::vector<ModalitySteps>& steps) const override;

 private:
  EarlyFusion early_{nullptr};
  LateFusion late_{nullptr};
  Linear out_proj_{nullptr};
};
TORCH_MODULE(HybridFusion);

/// Self-attention in each modality; attention to the others that the sample has, their mean added; means over the
/// steps, weighed by gates normalised over what is there. The cross-attention is shared by all ordered pairs.
class TRINE_API AttentionFusionImpl : public FusionImpl {
 public:
  explicit AttentionFusionImpl(const FusionOptions& options);
  Fused fuse(const std::vector<ModalitySteps>& steps) const override;

 private:
  std::map<std::string, TransformerEncoder> encoders_;
  std::vector<CrossModalAttention> cross_;
  std::map<std::string, Linear> gates_;
};
TORCH_MODULE(AttentionFusion);

}  // namespace trine
