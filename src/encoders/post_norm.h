#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"
#include "encoders/activation.h"
#include "encoders/config.h"
#include "linear/linear.h"
#include "trine/encoders/bert.h"
#include "trine/layers.h"

/// What BERT, RoBERTa, MPNet and DistilBERT share: layers with a norm after each part, under keys of each family's own.

namespace trine::detail {

struct PostNormSizes {
  std::int64_t layers;
  std::int64_t dim;
  std::int64_t heads;
  std::int64_t hidden;  ///< of the feed-forward part
  double eps;
  Activation activation;
};

/// Where a checkpoint keeps the parts; all but `layers` within one layer.
struct PostNormKeys {
  const char* layers;
  const char* query;
  const char* key;
  const char* value;
  const char* attention_out;
  const char* attention_norm;
  const char* expand;
  const char* contract;
  const char* output_norm;
};

/// Attention and a feed-forward part, each with a norm after it. (N, T, dim) -> (N, T, dim)
class PostNormLayer : public torch::nn::Module {
 public:
  PostNormLayer(const PostNormSizes& sizes, const PostNormKeys& keys);
  torch::Tensor forward(const torch::Tensor& input, const torch::Tensor& mask) const;
  /// Of texts one after the other, (tokens of all, dim) and the tokens of each -> the same
  torch::Tensor forward(const torch::Tensor& tokens, const std::vector<std::int64_t>& lengths) const;

 private:
  torch::Tensor after_attention(const torch::Tensor& attended, const torch::Tensor& input) const;

  std::int64_t heads_;
  Activation activation_;
  InferenceLinear qkv_, out_, expand_, contract_;
  LayerNorm attention_norm_{nullptr}, output_norm_{nullptr};
};

/// The layers, registered in `root`.
std::vector<std::shared_ptr<PostNormLayer>> register_layers(torch::nn::Module& root, const PostNormSizes& sizes,
                                                            const PostNormKeys& keys);

/// The layers over a batch of texts; without gradients its padding is left out, and zero in the result.
/// (N, T, dim), mask (N, T) -> (N, T, dim)
torch::Tensor run_layers(const std::vector<std::shared_ptr<PostNormLayer>>& layers, const torch::Tensor& x,
                         const torch::Tensor& mask);

/// fairseq's positions: padding_idx + 1, + 2 ... over the tokens that are not padding_idx, which keeps its own.
/// (N, T) -> (N, T)
torch::Tensor positions_after(const torch::Tensor& ids, std::int64_t padding_idx);

/// std::invalid_argument for more tokens than have positions.
void check_length(const char* who, const torch::Tensor& ids, std::int64_t most);

/// The keys of config.json that BERT, RoBERTa and MPNet share.
template <typename Config>
void read_bert_keys(const char* who, const Json& json, Config& config) {
  config.vocab_size = read_size(who, json, "vocab_size", 2'000'000);
  config.hidden_size = read_size(who, json, "hidden_size", 16'384);
  config.num_hidden_layers = read_size(who, json, "num_hidden_layers", 256);
  config.num_attention_heads = read_size(who, json, "num_attention_heads", 256);
  config.intermediate_size = read_size(who, json, "intermediate_size", 65'536);
  config.max_position_embeddings =
      read_size(who, json, "max_position_embeddings", 32'768, config.max_position_embeddings);
  config.layer_norm_eps = read_epsilon(who, json, "layer_norm_eps", config.layer_norm_eps);
  config.hidden_act = get_or(who, json, "hidden_act", config.hidden_act);
  activation(who, "hidden_act", config.hidden_act);
  check_heads(who, "num_attention_heads", config.num_attention_heads, "hidden_size", config.hidden_size);
  if (const auto type = get_or<std::string>(who, json, "position_embedding_type", "absolute"); type != "absolute") {
    failure(who, "\"position_embedding_type\" is ", shown(type), ", known is absolute");
  }
  if (get_or(who, json, "is_decoder", false)) failure(who, "\"is_decoder\" is true, only encoders are supported");
}

/// BERT's config, which RoBERTa's begins with.
BertConfig read_bert_config(const Json& json);

/// The sizes in a config with the keys that read_bert_keys has read.
template <typename Config>
PostNormSizes sizes_of(const char* who, const Config& config) {
  return {.layers = config.num_hidden_layers,
          .dim = config.hidden_size,
          .heads = config.num_attention_heads,
          .hidden = config.intermediate_size,
          .eps = config.layer_norm_eps,
          .activation = activation(who, "hidden_act", config.hidden_act)};
}

/// Weights of the layers and of `rows` more vectors: refused where they are too many.
void check_post_norm_weights(const char* who, std::int64_t layers, std::int64_t dim, std::int64_t hidden,
                             std::int64_t rows);

}  // namespace trine::detail
