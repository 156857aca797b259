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

/// MPNet (all-mpnet-base-v2) as a sentence encoder: config.json with `model_type` "mpnet".
/// Song et al. (2020). Reference: transformers MPNetModel.

namespace trine {

namespace detail {
class PostNormLayer;
}

/// The keys of config.json.
struct TRINE_API MPNetConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t max_position_embeddings = 512;
  std::int64_t relative_attention_num_buckets = 32;  ///< rows of the table; the first 32 are used
  double layer_norm_eps = 1e-12;
  std::string hidden_act = "gelu";  ///< transformers' name of an activation

  static MPNetConfig load(const std::filesystem::path& config_json);
};

/// Token ids to hidden states. Attention has a bias by the distance of two tokens, the same in every layer. Positions
/// count from 2 over the tokens that are not token 1, so that at most max_position_embeddings - 2 tokens have one.
/// ids (N, T) int64, mask (N, T) bool with true = real token -> (N, T, hidden_size).
class TRINE_API MPNetImpl : public torch::nn::Module {
 public:
  explicit MPNetImpl(const MPNetConfig& config);
  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& mask) const;

 private:
  Embedding word_embeddings_{nullptr};
  Embedding position_embeddings_{nullptr};
  LayerNorm embedding_norm_{nullptr};
  Embedding relative_attention_bias_{nullptr};
  std::vector<std::shared_ptr<detail::PostNormLayer>> layers_;
};
TORCH_MODULE(MPNet);

/// The sentence encoder of a directory, which is sentence-transformers' or transformers' alone; see `load_encoder`.
TRINE_API std::unique_ptr<TextEncoder> load_mpnet(const std::filesystem::path& directory);

}  // namespace trine
