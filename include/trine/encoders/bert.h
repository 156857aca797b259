#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/layers.h"

/// BERT and MiniLM as a sentence encoder: a sentence-transformers directory (config.json with `model_type` "bert",
/// tokenizer.json, model.safetensors, modules.json, 1_Pooling/config.json ...).
/// Devlin et al. (2019); Reimers, Gurevych (2019). Reference: transformers BertModel, sentence-transformers.

namespace trine {

namespace detail {
class PostNormLayer;
}

/// The keys of config.json.
struct TRINE_API BertConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t max_position_embeddings = 512;
  std::int64_t type_vocab_size = 2;
  double layer_norm_eps = 1e-12;
  std::string hidden_act = "gelu";  ///< transformers' name of an activation

  static BertConfig load(const std::filesystem::path& config_json);
};

/// Token ids to hidden states. ids (N, T) int64, mask (N, T) bool with true = real token -> (N, T, hidden_size).
/// Keys are transformers' own; the pooler is left out.
class TRINE_API BertImpl : public torch::nn::Module {
 public:
  /// `padding_idx`: positions count from padding_idx + 1 over the tokens that are not padding_idx; without it from 0.
  explicit BertImpl(const BertConfig& config, std::optional<std::int64_t> padding_idx = {});
  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& mask) const;

 private:
  std::optional<std::int64_t> padding_idx_;
  Embedding word_embeddings_{nullptr};
  Embedding position_embeddings_{nullptr};
  Embedding token_type_embeddings_{nullptr};
  LayerNorm embedding_norm_{nullptr};
  std::vector<std::shared_ptr<detail::PostNormLayer>> layers_;
};
TORCH_MODULE(Bert);

/// The sentence encoder of a directory, which is sentence-transformers' or transformers' alone; see `load_encoder`.
TRINE_API std::unique_ptr<TextEncoder> load_bert(const std::filesystem::path& directory);

}  // namespace trine
