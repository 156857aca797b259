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

/// BERT and MiniLM as a sentence encoder: a sentence-transformers directory (config.json with `model_type` "bert",
/// tokenizer.json, model.safetensors, modules.json, 1_Pooling/config.json).
/// Devlin et al. (2019); Reimers, Gurevych (2019). Reference: transformers BertModel, sentence-transformers Pooling.

namespace trine {

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
  std::string hidden_act = "gelu";  ///< or "relu"

  static BertConfig load(const std::filesystem::path& config_json);
};

class BertLayerImpl;

/// Token ids to hidden states. ids (N, T) int64, mask (N, T) bool with true = real token -> (N, T, hidden_size).
/// Keys are transformers' own; the pooler is left out.
class TRINE_API BertImpl : public torch::nn::Module {
 public:
  explicit BertImpl(const BertConfig& config);
  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& mask) const;

 private:
  Embedding word_embeddings_{nullptr};
  Embedding position_embeddings_{nullptr};
  Embedding token_type_embeddings_{nullptr};
  LayerNorm embedding_norm_{nullptr};
  std::vector<std::shared_ptr<BertLayerImpl>> layers_;
};
TORCH_MODULE(Bert);

/// The sentence encoder of a directory: tokens as the Hugging Face fast tokenizer gives them, cut at
/// `max_seq_length` (sentence_bert_config.json) keeping the end token, then mean, cls or max pooling as 1_Pooling says.
/// Without modules.json the mean is taken, as sentence-transformers does. Vectors are not normalised, also where the
/// directory lists a Normalize module.
TRINE_API std::unique_ptr<TextEncoder> load_bert(const std::filesystem::path& directory);

}  // namespace trine
