#include "trine/encoders/modernbert.h"

#include <algorithm>
#include <cmath>

#include "encoders/config.h"
#include "encoders/sentence.h"
#include "linear/linear.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "ModernBertConfig";
constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

/// Cosines and sines that turn queries and keys by their position. Each (T, 1, head size)
struct HalfRotation {
  HalfRotation(double theta, std::int64_t head_size, std::int64_t tokens, torch::Device device) {
    const Tensor exponents = torch::arange(0, head_size, 2, device).to(torch::kFloat32) / head_size;
    const Tensor frequencies = torch::pow(theta, exponents).reciprocal();
    const Tensor angles = torch::arange(tokens, device).to(torch::kFloat32).unsqueeze(1) * frequencies;
    const Tensor both = torch::cat({angles, angles}, -1).unsqueeze(1);
    cos = both.cos();
    sin = both.sin();
  }

  /// (N, T, heads, head size) -> the same
  Tensor operator()(const Tensor& x) const {
    const auto halves = x.chunk(2, -1);
    return x * cos + torch::cat({-halves[1], halves[0]}, -1) * sin;
  }

  Tensor cos, sin;
};

/// What a kind of layer attends by.
struct Attention {
  HalfRotation rotation;
  Tensor mask;  ///< as `self_attention` takes it
};

/// Keys within `reach` tokens; padding sees itself, so that none of its values is undefined. -> (N, 1, T, T)
Tensor window(const Tensor& mask, std::int64_t reach) {
  const Tensor steps = torch::arange(mask.size(1), mask.device());
  const Tensor distance = (steps.unsqueeze(1) - steps.unsqueeze(0)).abs();
  const Tensor seen = ((distance <= reach) & mask.unsqueeze(1)) | (distance == 0);
  // as floats: sdpa would make them anew in every layer
  return torch::zeros(seen.sizes(), mask.device()).masked_fill(~seen, -INFINITY).unsqueeze(1);
}

double read_theta(const detail::Json& json, const char* layer_type, const char* key, double fallback) {
  double theta = detail::get_or(kConfig, json, key, fallback);
  const detail::Json all = detail::get_or(kConfig, json, "rope_parameters", detail::Json::object());
  const detail::Json own = detail::get_or(kConfig, all, layer_type, detail::Json::object());
  theta = detail::get_or(kConfig, own, "rope_theta", theta);
  const detail::Json scaling = detail::get_or(kConfig, json, "rope_scaling", detail::Json::object());
  for (const detail::Json& part : {own, scaling}) {
    const auto old = detail::get_or<std::string>(kConfig, part, "type", "default");
    if (const auto type = detail::get_or<std::string>(kConfig, part, "rope_type", old); type != "default") {
      detail::failure(kConfig, "\"rope_type\" is ", detail::shown(type), ", known is default");
    }
  }
  if (!(theta > 0 && theta < 1e12)) {
    detail::failure(kConfig, "\"", key, "\" is ", theta, ", wanted above 0 and below 1e12");
  }
  return theta;
}

std::vector<std::string> read_layer_types(const detail::Json& json, std::int64_t layers) {
  std::vector<std::string> types;
  if (json.contains("layer_types") && !json.at("layer_types").is_null()) {
    types = detail::get<std::vector<std::string>>(kConfig, json, "layer_types");
  } else {
    const std::int64_t every = detail::read_size(kConfig, json, "global_attn_every_n_layers", 256, 3);
    for (std::int64_t i = 0; i < layers; ++i) types.emplace_back(i % every == 0 ? kFull : kSliding);
  }
  if (std::ssize(types) != layers) {
    detail::failure(kConfig, "\"layer_types\" has ", types.size(), " entries, \"num_hidden_layers\" is ", layers);
  }
  for (const std::string& type : types) {
    if (type != kFull && type != kSliding) {
      detail::failure(kConfig, "\"layer_types\" has ", detail::shown(type), ", known are ", kFull, " and ", kSliding);
    }
  }
  return types;
}

}  // namespace

/// Attention and a gated feed-forward part, each with a norm before it. (N, T, hidden_size) -> (N, T, hidden_size)
class ModernBertLayerImpl : public torch::nn::Module {
 public:
  ModernBertLayerImpl(const ModernBertConfig& config, bool first, bool is_full)
      : full(is_full),
        heads_(config.num_attention_heads),
        activation_(detail::activation("ModernBert", "hidden_activation", config.hidden_activation)) {
    const std::int64_t dim = config.hidden_size;
    if (!first) attention_norm_ = register_module("attn_norm", LayerNorm(dim, config.norm_eps, config.norm_bias));
    const auto attention = register_module("attn", std::make_shared<torch::nn::Module>());
    qkv_ = detail::InferenceLinear({attention->register_module("Wqkv", Linear(dim, 3 * dim, config.attention_bias))});
    out_ = detail::InferenceLinear({attention->register_module("Wo", Linear(dim, dim, config.attention_bias))});
    mlp_norm_ = register_module("mlp_norm", LayerNorm(dim, config.norm_eps, config.norm_bias));
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    expand_ = detail::InferenceLinear(
        {mlp->register_module("Wi", Linear(dim, 2 * config.intermediate_size, config.mlp_bias))});
    contract_ =
        detail::InferenceLinear({mlp->register_module("Wo", Linear(config.intermediate_size, dim, config.mlp_bias))});
  }

  Tensor forward(const Tensor& input, const Attention& attention) const {
    const Tensor normed = attention_norm_.is_empty() ? input : attention_norm_->forward(input);
    const auto parts = qkv_.forward(normed).chunk(3, -1);
    const auto turn = [&](const Tensor& x) { return attention.rotation(x.unflatten(-1, {heads_, -1})).flatten(2); };
    const Tensor x =
        out_.forward_add(self_attention(turn(parts[0]), turn(parts[1]), parts[2], heads_, attention.mask), input);
    const auto halves = expand_.forward(mlp_norm_->forward(x)).chunk(2, -1);
    return contract_.forward_add(activate(halves[0], activation_) * halves[1], x);
  }

  const bool full;  ///< attends to all tokens

 private:
  std::int64_t heads_;
  Activation activation_;
  LayerNorm attention_norm_{nullptr}, mlp_norm_{nullptr};
  detail::InferenceLinear qkv_, out_, expand_, contract_;
};

ModernBertConfig ModernBertConfig::load(const std::filesystem::path& config_json) {
  return detail::read_modernbert(detail::read_json(kConfig, config_json));
}

ModernBertImpl::ModernBertImpl(const ModernBertConfig& config) : config_(config) {
  const std::int64_t dim = config.hidden_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  tok_embeddings_ = embeddings->register_module("tok_embeddings", Embedding(config.vocab_size, dim));
  embedding_norm_ = embeddings->register_module("norm", LayerNorm(dim, config.norm_eps, config.norm_bias));
  torch::nn::ModuleList layers;
  for (const std::string& type : config.layer_types) {
    layers_.push_back(std::make_shared<ModernBertLayerImpl>(config, layers_.empty(), type == kFull));
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  final_norm_ = register_module("final_norm", LayerNorm(dim, config.norm_eps, config.norm_bias));
}

Tensor ModernBertImpl::forward(const Tensor& ids, const Tensor& mask) const {
  const std::int64_t tokens = ids.size(1), head_size = config_.hidden_size / config_.num_attention_heads;
  const std::int64_t reach = config_.local_attention / 2;
  const Attention full{HalfRotation(config_.global_rope_theta, head_size, tokens, ids.device()), mask};
  const Attention sliding{HalfRotation(config_.local_rope_theta, head_size, tokens, ids.device()),
                          tokens <= reach + 1 ? mask : window(mask, reach)};
  Tensor x = embedding_norm_->forward(tok_embeddings_->forward(ids));
  for (const auto& layer : layers_) x = layer->forward(x, layer->full ? full : sliding);
  return final_norm_->forward(x);
}

namespace detail {

ModernBertConfig read_modernbert(const Json& json) {
  ModernBertConfig config;
  config.vocab_size = read_size(kConfig, json, "vocab_size", 2'000'000);
  config.hidden_size = read_size(kConfig, json, "hidden_size", 16'384);
  config.num_hidden_layers = read_size(kConfig, json, "num_hidden_layers", 256);
  config.num_attention_heads = read_size(kConfig, json, "num_attention_heads", 256);
  config.intermediate_size = read_size(kConfig, json, "intermediate_size", 65'536);
  config.max_position_embeddings =
      read_size(kConfig, json, "max_position_embeddings", 32'768, config.max_position_embeddings);
  config.hidden_activation = get_or(kConfig, json, "hidden_activation", config.hidden_activation);
  activation(kConfig, "hidden_activation", config.hidden_activation);
  config.norm_eps = read_epsilon(kConfig, json, "norm_eps", config.norm_eps);
  config.norm_bias = get_or(kConfig, json, "norm_bias", config.norm_bias);
  config.attention_bias = get_or(kConfig, json, "attention_bias", config.attention_bias);
  config.mlp_bias = get_or(kConfig, json, "mlp_bias", config.mlp_bias);
  config.layer_types = read_layer_types(json, config.num_hidden_layers);
  config.local_attention = read_size(kConfig, json, "local_attention", 1'000'000, config.local_attention);
  config.global_rope_theta = read_theta(json, kFull, "global_rope_theta", config.global_rope_theta);
  config.local_rope_theta = read_theta(json, kSliding, "local_rope_theta", config.local_rope_theta);
  config.classifier_pooling = get_or(kConfig, json, "classifier_pooling", config.classifier_pooling);
  if (config.classifier_pooling != "cls" && config.classifier_pooling != "mean") {
    failure(kConfig, "\"classifier_pooling\" is ", shown(config.classifier_pooling), ", known are cls and mean");
  }
  config.classifier_bias = get_or(kConfig, json, "classifier_bias", config.classifier_bias);
  config.classifier_activation = get_or(kConfig, json, "classifier_activation", config.classifier_activation);
  activation(kConfig, "classifier_activation", config.classifier_activation);
  check_heads(kConfig, "num_attention_heads", config.num_attention_heads, "hidden_size", config.hidden_size);
  if (config.hidden_size / config.num_attention_heads % 2 != 0) {
    failure(kConfig, "\"num_attention_heads\" is ", config.num_attention_heads, ", which makes heads of ",
            config.hidden_size / config.num_attention_heads, " values: rotary positions want an even number");
  }
  const auto dim = static_cast<double>(config.hidden_size);
  check_weights(kConfig, dim * static_cast<double>(config.vocab_size) +
                             static_cast<double>(config.num_hidden_layers) *
                                 (4 * dim * dim + 3 * dim * static_cast<double>(config.intermediate_size)));
  return config;
}

TextNetwork modernbert_network(const Json& json) { return modernbert_network(read_modernbert(json)); }

TextNetwork modernbert_network(const ModernBertConfig& config) {
  const ModernBert network(config);
  return {.model_type = "modernbert",
          .module = network.ptr(),
          .forward = [network](const Tensor& ids, const Tensor& mask) { return network->forward(ids, mask); },
          .prefix = "model.",
          .vocab_size = config.vocab_size,
          .hidden_size = config.hidden_size,
          .max_position_embeddings = config.max_position_embeddings,
          .max_tokens = config.max_position_embeddings,
          .pad_id = 0,
          .activation = activation(kConfig, "hidden_activation", config.hidden_activation),
          .head = {.dense = "head.dense",
                   .activation = activation(kConfig, "classifier_activation", config.classifier_activation),
                   .out = "classifier",
                   .norm = "head.norm",
                   .mean = config.classifier_pooling == "mean",
                   .dense_bias = config.classifier_bias,
                   .norm_bias = config.norm_bias,
                   .norm_eps = config.norm_eps}};
}

}  // namespace detail

std::unique_ptr<TextEncoder> load_modernbert(const std::filesystem::path& directory) {
  return detail::load_sentence_encoder(directory, detail::modernbert_network);
}

}  // namespace trine
