#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "trine/encoders/bert.h"
#include "trine/encoders/encoder.h"
#include "trine/export.h"

/// RoBERTa and XLM-RoBERTa (all-distilroberta-v1, multilingual-e5, bge-m3) as a sentence encoder: config.json with
/// `model_type` "roberta" or "xlm-roberta", which are one network.
/// Liu et al. (2019); Conneau et al. (2020). Reference: transformers RobertaModel, XLMRobertaModel.

namespace trine {

/// The keys of config.json: BERT's, and which token positions are counted from.
struct TRINE_API RobertaConfig : BertConfig {
  std::int64_t pad_token_id = 1;

  static RobertaConfig load(const std::filesystem::path& config_json);
};

/// BERT's network under BERT's keys. Positions count from pad_token_id + 1, so that at most max_position_embeddings -
/// pad_token_id - 1 tokens have one. ids (N, T) int64, mask (N, T) bool -> (N, T, hidden_size)
class TRINE_API RobertaImpl : public BertImpl {
 public:
  explicit RobertaImpl(const RobertaConfig& config);
};
TORCH_MODULE(Roberta);

/// The sentence encoder of a directory, which is sentence-transformers' or transformers' alone; see `load_encoder`.
TRINE_API std::unique_ptr<TextEncoder> load_roberta(const std::filesystem::path& directory);

}  // namespace trine
