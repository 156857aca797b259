#include "trine/encoders/distilbert.h"

#include "encoders/post_norm.h"
#include "encoders/sentence.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "DistilBertConfig";
constexpr double kEps = 1e-12;

constexpr detail::PostNormKeys kKeys{.layers = "transformer.layer",
                                     .query = "attention.q_lin",
                                     .key = "attention.k_lin",
                                     .value = "attention.v_lin",
                                     .attention_out = "attention.out_lin",
                                     .attention_norm = "sa_layer_norm",
                                     .expand = "ffn.lin1",
                                     .contract = "ffn.lin2",
                                     .output_norm = "output_layer_norm"};

DistilBertConfig read_config(const detail::Json& json) {
  DistilBertConfig config;
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 2'000'000);
  config.dim = detail::read_size(kConfig, json, "dim", 16'384);
  config.n_layers = detail::read_size(kConfig, json, "n_layers", 256);
  config.n_heads = detail::read_size(kConfig, json, "n_heads", 256);
  config.hidden_dim = detail::read_size(kConfig, json, "hidden_dim", 65'536);
  config.max_position_embeddings =
      detail::read_size(kConfig, json, "max_position_embeddings", 32'768, config.max_position_embeddings);
  config.activation = detail::get_or(kConfig, json, "activation", config.activation);
  detail::activation(kConfig, "activation", config.activation);
  detail::check_heads(kConfig, "n_heads", config.n_heads, "dim", config.dim);
  detail::check_post_norm_weights(kConfig, config.n_layers, config.dim, config.hidden_dim,
                                  config.vocab_size + config.max_position_embeddings);
  return config;
}

}  // namespace

DistilBertConfig DistilBertConfig::load(const std::filesystem::path& config_json) {
  return read_config(detail::read_json(kConfig, config_json));
}

DistilBertImpl::DistilBertImpl(const DistilBertConfig& config) {
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  word_embeddings_ = embeddings->register_module("word_embeddings", Embedding(config.vocab_size, config.dim));
  position_embeddings_ =
      embeddings->register_module("position_embeddings", Embedding(config.max_position_embeddings, config.dim));
  embedding_norm_ = embeddings->register_module("LayerNorm", LayerNorm(config.dim, kEps));
  layers_ = detail::register_layers(*this,
                                    {.layers = config.n_layers,
                                     .dim = config.dim,
                                     .heads = config.n_heads,
                                     .hidden = config.hidden_dim,
                                     .eps = kEps,
                                     .activation = detail::activation("DistilBert", "activation", config.activation)},
                                    kKeys);
}

Tensor DistilBertImpl::forward(const Tensor& ids, const Tensor& mask) const {
  const Tensor& positions = position_embeddings_->weight;
  detail::check_length("DistilBert", ids, positions.size(0));
  const Tensor x = embedding_norm_->forward(word_embeddings_->forward(ids) + positions.slice(0, 0, ids.size(1)));
  return detail::run_layers(layers_, x, mask);
}

namespace detail {

TextNetwork distilbert_network(const Json& json) {
  const DistilBertConfig config = read_config(json);
  const DistilBert network(config);
  return {.model_type = "distilbert",
          .module = network.ptr(),
          .forward = [network](const Tensor& ids, const Tensor& mask) { return network->forward(ids, mask); },
          .prefix = "distilbert.",
          .vocab_size = config.vocab_size,
          .hidden_size = config.dim,
          .max_position_embeddings = config.max_position_embeddings,
          .max_tokens = config.max_position_embeddings,
          .pad_id = 0,
          .activation = activation(kConfig, "activation", config.activation),
          .head = {.dense = "pre_classifier",
                   .activation = activation(kConfig, "the head's activation", "relu"),
                   .out = "classifier"}};
}

}  // namespace detail

std::unique_ptr<TextEncoder> load_distilbert(const std::filesystem::path& directory) {
  return detail::load_sentence_encoder(directory, detail::distilbert_network);
}

}  // namespace trine
