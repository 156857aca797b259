#include "trine/encoders/bert.h"

#include "encoders/post_norm.h"
#include "encoders/sentence.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "BertConfig";

constexpr detail::PostNormKeys kKeys{.layers = "encoder.layer",
                                     .query = "attention.self.query",
                                     .key = "attention.self.key",
                                     .value = "attention.self.value",
                                     .attention_out = "attention.output.dense",
                                     .attention_norm = "attention.output.LayerNorm",
                                     .expand = "intermediate.dense",
                                     .contract = "output.dense",
                                     .output_norm = "output.LayerNorm"};

}  // namespace

BertConfig BertConfig::load(const std::filesystem::path& config_json) {
  return detail::read_bert(kConfig, detail::read_json(kConfig, config_json));
}

BertImpl::BertImpl(const BertConfig& config, std::optional<std::int64_t> padding_idx) : padding_idx_(padding_idx) {
  const std::int64_t dim = config.hidden_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  word_embeddings_ = embeddings->register_module("word_embeddings", Embedding(config.vocab_size, dim));
  position_embeddings_ =
      embeddings->register_module("position_embeddings", Embedding(config.max_position_embeddings, dim));
  token_type_embeddings_ = embeddings->register_module("token_type_embeddings", Embedding(config.type_vocab_size, dim));
  embedding_norm_ = embeddings->register_module("LayerNorm", LayerNorm(dim, config.layer_norm_eps));
  layers_ = detail::register_layers(*this, detail::sizes_of("Bert", config), kKeys);
}

Tensor BertImpl::forward(const Tensor& ids, const Tensor& mask) const {
  const Tensor& table = position_embeddings_->weight;
  const std::int64_t first = padding_idx_ ? *padding_idx_ + 1 : 0;
  detail::check_length("Bert", ids, table.size(0) - first);
  const Tensor positions = padding_idx_ ? position_embeddings_->forward(detail::positions_after(ids, *padding_idx_))
                                        : table.slice(0, 0, ids.size(1));
  const Tensor x = word_embeddings_->forward(ids) + positions +
                   token_type_embeddings_->weight[0];  // every token is of the first sentence
  return detail::run_layers(layers_, embedding_norm_->forward(x), mask);
}

namespace detail {

BertConfig read_bert(const char* who, const Json& json) {
  BertConfig config;
  read_bert_keys(who, json, config);
  config.type_vocab_size = read_size(who, json, "type_vocab_size", 1'024, config.type_vocab_size);
  check_post_norm_weights(who, config.num_hidden_layers, config.hidden_size, config.intermediate_size,
                          config.vocab_size + config.max_position_embeddings + config.type_vocab_size);
  return config;
}

TextNetwork bert_network(const Json& json) {
  const BertConfig config = read_bert(kConfig, json);
  const Bert network(config);
  return {.model_type = "bert",
          .module = network.ptr(),
          .forward = [network](const Tensor& ids, const Tensor& mask) { return network->forward(ids, mask); },
          .prefix = "bert.",
          .vocab_size = config.vocab_size,
          .hidden_size = config.hidden_size,
          .max_position_embeddings = config.max_position_embeddings,
          .max_tokens = config.max_position_embeddings,
          .pad_id = 0,
          .activation = activation(kConfig, "hidden_act", config.hidden_act),
          .head = {.dense = "bert.pooler.dense",
                   .activation = activation(kConfig, "the pooler's activation", "tanh"),
                   .out = "classifier"}};
}

}  // namespace detail

std::unique_ptr<TextEncoder> load_bert(const std::filesystem::path& directory) {
  return detail::load_sentence_encoder(directory, detail::bert_network);
}

}  // namespace trine
