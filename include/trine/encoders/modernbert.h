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

/// ModernBERT (gte-modernbert, granite-embedding) as a sentence encoder: config.json with `model_type` "modernbert".
/// Warner et al. (2024). Reference: transformers ModernBertModel with eager or sdpa attention.

namespace trine {

/// The keys of config.json.
struct TRINE_API ModernBertConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t max_position_embeddings = 8192;
  std::string hidden_activation = "gelu";  ///< transformers' name of an activation
  double norm_eps = 1e-5;
  bool norm_bias = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  /// "full_attention" or "sliding_attention" of each layer; without the key one in `global_attn_every_n_layers` is
  /// full.
  std::vector<std::string> layer_types;
  std::int64_t local_attention = 128;      ///< tokens a sliding layer sees: half of them on either side, and the token
  double global_rope_theta = 160'000.0;    ///< of full layers; newer files keep both in "rope_parameters"
  double local_rope_theta = 10'000.0;      ///< of sliding layers
  std::string classifier_pooling = "cls";  ///< or "mean": the keys of a head for labels
  bool classifier_bias = false;
  std::string classifier_activation = "gelu";

  static ModernBertConfig load(const std::filesystem::path& config_json);
};

class ModernBertLayerImpl;

/// Token ids to hidden states: rotary positions, gated feed-forward parts, a norm before each part (the first layer's
/// attention has none) and one at the end.
/// ids (N, T) int64, mask (N, T) bool with true = real token -> (N, T, hidden_size).
class TRINE_API ModernBertImpl : public torch::nn::Module {
 public:
  explicit ModernBertImpl(const ModernBertConfig& config);
  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& mask) const;

 private:
  ModernBertConfig config_;
  Embedding tok_embeddings_{nullptr};
  LayerNorm embedding_norm_{nullptr};
  std::vector<std::shared_ptr<ModernBertLayerImpl>> layers_;
  LayerNorm final_norm_{nullptr};
};
TORCH_MODULE(ModernBert);

/// The sentence encoder of a directory, which is sentence-transformers' or transformers' alone; see `load_encoder`.
TRINE_API std::unique_ptr<TextEncoder> load_modernbert(const std::filesystem::path& directory);

}  // namespace trine
