#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "trine/export.h"
#include "trine/layers.h"

/// Attention layers that fusions are made of. Masks are bool, true = a real step; what padded steps hold does not
/// matter. New modules hold random weights, ready to be trained. Keys of the state_dict are those of the PyTorch
/// reference, see tests/golden/make_fusion.py.
/// Errors: std::invalid_argument for shapes and types that do not fit, std::runtime_error for files.

namespace trine {

struct Attended {
  torch::Tensor output;   ///< (B, Tq, D)
  torch::Tensor weights;  ///< (B, H, Tq, Tk), summing to 1 over the real keys
};

/// Multi-head attention from one modality to another. query (B, Tq, D), key (B, Tk, D), value defaults to key, key_mask
/// (B, Tk). A sample without a real key gets an output and weights of exactly zero.
class TRINE_API CrossModalAttentionImpl : public torch::nn::Module {
 public:
  explicit CrossModalAttentionImpl(std::int64_t dim, std::int64_t num_heads = 8);
  Attended forward(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value = {},
                   const torch::Tensor& key_mask = {}) const;

  std::int64_t dim() const { return dim_; }
  std::int64_t num_heads() const { return num_heads_; }

  void save(const std::filesystem::path& directory) const;  ///< config.json and model.safetensors
  static std::shared_ptr<CrossModalAttentionImpl> load(const std::filesystem::path& directory);

 private:
  std::int64_t dim_;
  std::int64_t num_heads_;
  Linear q_proj_{nullptr};
  Linear k_proj_{nullptr};
  Linear v_proj_{nullptr};
  Linear out_proj_{nullptr};
};
TORCH_MODULE(CrossModalAttention);

class TransformerLayerImpl;

/// torch.nn.TransformerEncoder's post-norm ReLU layers, with its state_dict keys and, until `eval()`, dropout 0.1.
/// x (B, T, dim), mask (B, T) -> (B, T, dim), zeros at padded steps and for a sample without a real one.
class TRINE_API TransformerEncoderImpl : public torch::nn::Module {
 public:
  TransformerEncoderImpl(std::int64_t dim, std::int64_t num_heads, std::int64_t num_layers, std::int64_t ff_dim);
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask) const;

 private:
  std::vector<std::shared_ptr<TransformerLayerImpl>> layers_;
};
TORCH_MODULE(TransformerEncoder);

/// `x` with zeros where the mask is false, whatever was there. (B, T, D), (B, T) bool -> (B, T, D)
TRINE_API torch::Tensor blank_padding(const torch::Tensor& x, const torch::Tensor& mask);

}  // namespace trine
