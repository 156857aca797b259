#include "trine/encoders/mpnet.h"

#include <cmath>

#include "detail/error.h"
#include "encoders/post_norm.h"
#include "encoders/sentence.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "MPNetConfig";
constexpr std::int64_t kPaddingIdx = 1;  // whatever pad_token_id says
constexpr std::int64_t kBuckets = 32;    // whatever relative_attention_num_buckets says
constexpr std::int64_t kFarthest = 128;  // tokens; all that is farther shares a bucket

constexpr detail::PostNormKeys kKeys{.layers = "encoder.layer",
                                     .query = "attention.attn.q",
                                     .key = "attention.attn.k",
                                     .value = "attention.attn.v",
                                     .attention_out = "attention.attn.o",
                                     .attention_norm = "attention.LayerNorm",
                                     .expand = "intermediate.dense",
                                     .contract = "output.dense",
                                     .output_norm = "output.LayerNorm"};

/// The bucket of every distance: half of them for keys after the query; half of those for single distances, the rest
/// grow with the logarithm. It is taken on the CPU: another one could round into another bucket. -> (T, T)
Tensor buckets(std::int64_t tokens) {
  constexpr std::int64_t kEach = kBuckets / 2, kExact = kEach / 2;
  const Tensor steps = torch::arange(tokens);
  const Tensor before = steps.unsqueeze(1) - steps.unsqueeze(0);  // how far the key lies before the query
  const Tensor distance = before.abs();
  const double growth = std::log(static_cast<double>(kFarthest) / static_cast<double>(kExact));
  const Tensor far =
      kExact + ((distance.to(torch::kFloat32) / kExact).log() / growth * (kEach - kExact)).to(torch::kInt64);
  return before.lt(0).to(torch::kInt64) * kEach + torch::where(distance < kExact, distance, far.clamp_max(kEach - 1));
}

MPNetConfig read_config(const detail::Json& json) {
  MPNetConfig config;
  detail::read_bert_keys(kConfig, json, config);
  config.relative_attention_num_buckets =
      detail::read_size(kConfig, json, "relative_attention_num_buckets", 1'024, config.relative_attention_num_buckets);
  if (config.relative_attention_num_buckets < kBuckets) {
    detail::failure(kConfig, "\"relative_attention_num_buckets\" is ", config.relative_attention_num_buckets,
                    ", wanted at least ", kBuckets);
  }
  if (config.max_position_embeddings < kPaddingIdx + 4) {
    detail::failure(kConfig, "\"max_position_embeddings\" is ", config.max_position_embeddings, ", wanted at least ",
                    kPaddingIdx + 4, ": positions are counted from ", kPaddingIdx + 1);
  }
  detail::check_post_norm_weights(kConfig, config.num_hidden_layers, config.hidden_size, config.intermediate_size,
                                  config.vocab_size + config.max_position_embeddings);
  return config;
}

}  // namespace

MPNetConfig MPNetConfig::load(const std::filesystem::path& config_json) {
  return read_config(detail::read_json(kConfig, config_json));
}

MPNetImpl::MPNetImpl(const MPNetConfig& config) {
  const std::int64_t dim = config.hidden_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  word_embeddings_ = embeddings->register_module("word_embeddings", Embedding(config.vocab_size, dim));
  position_embeddings_ =
      embeddings->register_module("position_embeddings", Embedding(config.max_position_embeddings, dim));
  embedding_norm_ = embeddings->register_module("LayerNorm", LayerNorm(dim, config.layer_norm_eps));
  layers_ = detail::register_layers(*this, detail::sizes_of("MPNet", config), kKeys);
  relative_attention_bias_ = register_at(*this, "encoder.relative_attention_bias",
                                         Embedding(config.relative_attention_num_buckets, config.num_attention_heads));
}

Tensor MPNetImpl::forward(const Tensor& ids, const Tensor& mask) const {
  detail::check_length("MPNet", ids, position_embeddings_->weight.size(0) - kPaddingIdx - 1);
  Tensor x = word_embeddings_->forward(ids) + position_embeddings_->forward(detail::positions_after(ids, kPaddingIdx));
  x = embedding_norm_->forward(x);
  const Tensor places = buckets(ids.size(1)).to(ids.device());
  const Tensor bias = relative_attention_bias_->forward(places).permute({2, 0, 1});  // (heads, T, T)
  const Tensor scores = bias.unsqueeze(0).masked_fill(~mask.unsqueeze(1).unsqueeze(2), -INFINITY);
  for (const auto& layer : layers_) x = layer->forward(x, scores);
  return x;
}

namespace detail {

TextNetwork mpnet_network(const Json& json) {
  const MPNetConfig config = read_config(json);
  const MPNet network(config);
  return {.model_type = "mpnet",
          .module = network.ptr(),
          .forward = [network](const Tensor& ids, const Tensor& mask) { return network->forward(ids, mask); },
          .prefix = "mpnet.",
          .vocab_size = config.vocab_size,
          .hidden_size = config.hidden_size,
          .max_position_embeddings = config.max_position_embeddings,
          .max_tokens = config.max_position_embeddings - kPaddingIdx - 1,
          .pad_id = kPaddingIdx,
          .activation = activation(kConfig, "hidden_act", config.hidden_act),
          .head = {.dense = "classifier.dense",
                   .activation = activation(kConfig, "the head's activation", "tanh"),
                   .out = "classifier.out_proj"}};
}

}  // namespace detail

std::unique_ptr<TextEncoder> load_mpnet(const std::filesystem::path& directory) {
  return detail::load_sentence_encoder(directory, detail::mpnet_network);
}

}  // namespace trine
