#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "detail/json.h"
#include "encoders/activation.h"
#include "encoders/model_files.h"
#include "place.h"
#include "trine/encoders/encoder.h"
#include "trine/encoders/gradients.h"
#include "trine/input/text.h"
#include "trine/layers.h"

/// What a text family gives, and what sentence encoders and classifiers do with it alike: tokens, batches, weights.

namespace trine {
struct BertConfig;
struct ModernBertConfig;
struct RobertaConfig;
}  // namespace trine

namespace trine::detail {

/// The head of `*ForSequenceClassification`: a token, or the mean -> dense -> activation -> norm -> out. Parts are
/// named by their keys.
struct HeadOptions {
  const char* dense;
  Activation activation;
  const char* out;
  const char* norm = nullptr;  ///< null: none
  bool mean = false;           ///< of all tokens, instead of the first one
  bool dense_bias = true;
  bool norm_bias = true;
  double norm_eps = 0;
};

/// A network that is not loaded yet.
struct TextNetwork {
  using Forward = std::function<torch::Tensor(const torch::Tensor& ids, const torch::Tensor& mask)>;

  std::string model_type;
  std::shared_ptr<torch::nn::Module> module;
  Forward forward;     ///< (N, T) int64, (N, T) bool -> (N, T, hidden_size)
  const char* prefix;  ///< of its keys where it stands under a head: "bert."; of a TextModel: in its checkpoint
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t max_position_embeddings;
  std::int64_t max_tokens;  ///< that have a position
  std::int64_t pad_id;      ///< what batches are filled with: its position exists
  Activation activation;
  HeadOptions head;
};

// The keys of a config.json or of a part of it.
BertConfig read_bert(const char* who, const Json& json);
ModernBertConfig read_modernbert(const Json& json);
RobertaConfig read_roberta(const char* who, const Json& json);

/// A family's network, with the sizes of a config.json.
using MakeTextNetwork = TextNetwork (*)(const Json& config);

TextNetwork bert_network(const Json& config);
TextNetwork distilbert_network(const Json& config);
TextNetwork modernbert_network(const Json& config);
TextNetwork modernbert_network(const ModernBertConfig& config);
TextNetwork mpnet_network(const Json& config);
TextNetwork roberta_network(const Json& config);
TextNetwork roberta_network(const std::string& model_type, const RobertaConfig& config);

/// A network with its weights and its tokenizer.
class TextModel {
 public:
  /// hidden (N, T, hidden_size), mask (N, T) -> (N, width), where the network was loaded to
  using Head = std::function<torch::Tensor(const torch::Tensor& hidden, const torch::Tensor& mask)>;

  /// `max_seq_length`: as sentence-transformers has it, beside the tokenizer's own limit and the network's positions.
  TextModel(const char* who, const ModelFiles& files, TextNetwork network,
            std::optional<std::int64_t> max_seq_length = {});

  const TextNetwork& network() const { return network_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  std::int64_t max_tokens() const { return max_tokens_; }

  /// `head` over what the network makes of the texts, in groups of like length; rows in the order of the texts, here.
  /// -> (N, width)
  torch::Tensor run(const std::vector<std::string>& texts, std::int64_t width, const Head& head) const;

  /// The network under its keys, see Trainable.
  TrainablePart part() const { return {network_.prefix, network_.module}; }

  /// model_type, tokenizer, max_tokens, activation
  Description describe() const;
  std::int64_t count_parameters() const;

 private:
  torch::Tensor run_group(const std::vector<const std::vector<std::int32_t>*>& group, const Head& head) const;

  TextNetwork network_;
  Place place_;
  Tokenizer tokenizer_;
  std::int64_t max_tokens_;
};

std::int64_t count_parameters(const torch::nn::Module& module);

/// Refuses a directory whose tokenizer knows more ids than `vocab_size`, or adds no token to an empty text.
void check_tokenizer(const char* who, const std::filesystem::path& directory, const Tokenizer& tokenizer,
                     std::int64_t vocab_size);

}  // namespace trine::detail
