#include "trine/encoders/roberta.h"

#include <algorithm>

#include "detail/error.h"
#include "encoders/post_norm.h"
#include "encoders/sentence.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "RobertaConfig";

}  // namespace

RobertaConfig RobertaConfig::load(const std::filesystem::path& config_json) {
  return detail::read_roberta(kConfig, detail::read_json(kConfig, config_json));
}

RobertaImpl::RobertaImpl(const RobertaConfig& config) : BertImpl(config, config.pad_token_id) {}

namespace detail {

RobertaConfig read_roberta(const char* who, const Json& json) {
  RobertaConfig config{read_bert(who, json)};
  config.pad_token_id = get_or(who, json, "pad_token_id", config.pad_token_id);
  // positions are left for the fewest tokens a text can have
  const std::int64_t most = std::min(config.vocab_size, config.max_position_embeddings - 3) - 1;
  if (config.pad_token_id < 0 || config.pad_token_id > most) {
    failure(who, "\"pad_token_id\" is ", config.pad_token_id, ", wanted 0 to ", most,
            ": positions count from it, \"max_position_embeddings\" is ", config.max_position_embeddings);
  }
  return config;
}

TextNetwork roberta_network(const std::filesystem::path& directory) {
  const Json json = read_json(kConfig, directory / "config.json");
  return roberta_network(get<std::string>(kConfig, json, "model_type"), read_roberta(kConfig, json));
}

TextNetwork roberta_network(const std::string& model_type, const RobertaConfig& config) {
  const Roberta network(config);
  return {.model_type = model_type,
          .module = network.ptr(),
          .forward = [network](const Tensor& ids, const Tensor& mask) { return network->forward(ids, mask); },
          .prefix = "roberta.",
          .vocab_size = config.vocab_size,
          .hidden_size = config.hidden_size,
          .max_position_embeddings = config.max_position_embeddings,
          .max_tokens = config.max_position_embeddings - config.pad_token_id - 1,
          .pad_id = config.pad_token_id,
          .activation = activation(kConfig, "hidden_act", config.hidden_act),
          .head = {.dense = "classifier.dense",
                   .activation = activation(kConfig, "the head's activation", "tanh"),
                   .out = "classifier.out_proj"}};
}

}  // namespace detail

std::unique_ptr<TextEncoder> load_roberta(const std::filesystem::path& directory) {
  return detail::load_sentence_encoder(directory, detail::roberta_network(directory));
}

}  // namespace trine
