#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/layers.h"

/// DistilBERT (multi-qa-distilbert, distiluse) as a sentence encoder: config.json with `model_type` "distilbert".
/// Sanh et al. (2019). Reference: transformers DistilBertModel.

namespace trine {

namespace detail {
class PostNormLayer;
}

/// The keys of config.json. `sinusoidal_pos_embds` says how positions were made; they are in the checkpoint either way.
struct TRINE_API DistilBertConfig {
  std::int64_t vocab_size = 0;
  std::int64_t dim = 0;
  std::int64_t n_layers = 0;
  std::int64_t n_heads = 0;
  std::int64_t hidden_dim = 0;
  std::int64_t max_position_embeddings = 512;
  std::string activation = "gelu";  ///< transformers' name of an activation

  static DistilBertConfig load(const std::filesystem::path& config_json);
};

/// Token ids to hidden states, without token types. Norms have an epsilon of 1e-12.
/// ids (N, T) int64, mask (N, T) bool with true = real token -> (N, T, dim).
class TRINE_API DistilBertImpl : public torch::nn::Module {
 public:
  explicit DistilBertImpl(const DistilBertConfig& config);
  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& mask) const;

 private:
  Embedding word_embeddings_{nullptr};
  Embedding position_embeddings_{nullptr};
  LayerNorm embedding_norm_{nullptr};
  std::vector<std::shared_ptr<detail::PostNormLayer>> layers_;
};
TORCH_MODULE(DistilBert);

/// The sentence encoder of a directory, which is sentence-transformers' or transformers' alone; see `load_encoder`.
TRINE_API std::unique_ptr<TextEncoder> load_distilbert(const std::filesystem::path& directory);

}  // namespace trine
