#include "trine/encoders/pe_transformer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/activation.h"
#include "encoders/config.h"
#include "encoders/pe_config.h"
#include "encoders/rotation.h"
#include "encoders/towers.h"
#include "linear/attention.h"
#include "linear/linear.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr double kHeadEps = 1e-6;
constexpr double kGroupEps = 1e-5;

/// Scale of each channel by the root of the mean square. (..., dim) -> the same
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return weight * (x * torch::rsqrt(x.pow(2).mean(-1, /*keepdim=*/true) + eps));
}

/// Pairs of neighbouring channels turn by the step; the class token is step 0.
Rotation make_rotation(const PeTransformerConfig& config, std::int64_t steps, torch::Device device) {
  const Tensor exponents = torch::arange(0, config.head_dim, 2, device).to(torch::kFloat32) / config.head_dim;
  const Tensor frequencies = torch::pow(config.rope_theta, exponents).reciprocal();
  const Tensor angles = torch::arange(steps, device).to(torch::kFloat32).unsqueeze(1) * frequencies;
  return {angles.cos().repeat_interleave(2, -1), angles.sin().repeat_interleave(2, -1)};
}

class PeTextTower : public TextEncoder, public Trainable {
 public:
  PeTextTower(detail::PeTextPart part, PeHead head, std::string prefix)
      : part_(std::move(part)), head_(std::move(head)), prefix_(std::move(prefix)) {}

  std::int64_t dim() const override { return head_->proj->weight.size(0); }
  std::int64_t max_tokens() const override { return part_.model->max_tokens(); }
  const Tokenizer& tokenizer() const override { return part_.model->tokenizer(); }
  Tensor encode(const std::vector<std::string>& texts) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    return place_.run([&](const Tensor& states) { return head_->forward(states); }, part_.states(texts));
  }
  std::vector<TrainablePart> trainable() override { return {part_.model->part(), {prefix_, head_.ptr()}}; }

  Description describe() const override {
    Description lines = part_.model->describe();
    const std::string name = prefix_.substr(0, prefix_.size() - 1);  // without its dot
    lines.emplace_back("pooling",
                       "the first token, then a norm and a linear layer, " + name.substr(name.rfind('.') + 1));
    lines.emplace_back("parameters",
                       std::to_string(part_.model->count_parameters() + detail::count_parameters(*head_)));
    return lines;
  }

 private:
  detail::PeTextPart part_;
  detail::Place place_;
  PeHead head_;
  std::string prefix_;
};

}  // namespace

/// Attention with normed queries and keys and a gated feed-forward part, each with a norm before it.
/// (N, T, hidden_size) -> (N, T, hidden_size)
class PeLayerImpl : public torch::nn::Module {
 public:
  explicit PeLayerImpl(const PeTransformerConfig& config)
      : heads_(config.num_attention_heads),
        groups_(config.num_attention_heads / config.num_key_value_heads),
        head_dim_(config.head_dim),
        eps_(config.rms_norm_eps),
        activation_(config.hidden_act) {
    const std::int64_t dim = config.hidden_size, all = heads_ * head_dim_, fewer = all / groups_;
    const auto norm = [&](const char* path, std::int64_t size) {
      return register_at(*this, path, std::make_shared<torch::nn::Module>())
          ->register_parameter("weight", torch::empty({size}));
    };
    const auto linear = [&](const char* path, std::int64_t in, std::int64_t out, bool with_bias) {
      return register_at(*this, path, Linear(in, out, with_bias));
    };
    const Linear query = linear("self_attn.q_proj", dim, all, config.attention_bias);
    const Linear key = linear("self_attn.k_proj", dim, fewer, config.attention_bias);
    const Linear value = linear("self_attn.v_proj", dim, fewer, config.attention_bias);
    qkv_ = detail::InferenceLinear({query, key, value});
    out_ = detail::InferenceLinear({linear("self_attn.o_proj", all, dim, config.attention_bias)});
    query_norm_ = norm("self_attn.q_norm", head_dim_);
    key_norm_ = norm("self_attn.k_norm", head_dim_);
    const Linear gate = linear("mlp.gate_proj", dim, config.intermediate_size, /*with_bias=*/false);
    gate_up_ = detail::InferenceLinear({gate, linear("mlp.up_proj", dim, config.intermediate_size, false)});
    down_ = detail::InferenceLinear({linear("mlp.down_proj", config.intermediate_size, dim, /*with_bias=*/false)});
    attention_norm_ = norm("input_layernorm", dim);
    feed_forward_norm_ = norm("post_attention_layernorm", dim);
  }

  Tensor forward(const Tensor& input, const Rotation& rotation) const {
    const Tensor a = rms_norm(input, attention_norm_, eps_);
    const auto split = [&](const Tensor& x) { return x.unflatten(-1, {-1, head_dim_}); };
    const auto ready = [&](const Tensor& x, const Tensor& norm) {
      return detail::turn(rms_norm(split(x), norm, eps_), rotation);
    };
    const auto shared = [&](const Tensor& x) { return x.repeat_interleave(groups_, 2).flatten(2); };
    const std::int64_t all = heads_ * head_dim_, fewer = all / groups_;
    const auto parts = qkv_.forward(a).split_with_sizes({all, fewer, fewer}, -1);
    const Tensor q = ready(parts[0], query_norm_).flatten(2);
    const Tensor k = shared(ready(parts[1], key_norm_)), v = shared(split(parts[2]));
    const Tensor x = out_.forward_add(detail::attention_after(qkv_.precision(), q, k, v, heads_), input);
    const auto halves = gate_up_.forward(rms_norm(x, feed_forward_norm_, eps_)).chunk(2, -1);
    return down_.forward_add(activate(halves[0], activation_) * halves[1], x);
  }

 private:
  std::int64_t heads_, groups_, head_dim_;
  double eps_;
  Activation activation_;
  detail::InferenceLinear qkv_, out_, gate_up_, down_;
  Tensor query_norm_, key_norm_, attention_norm_, feed_forward_norm_;
};

PeTransformerImpl::PeTransformerImpl(const PeTransformerConfig& config) : config_(config) {
  const std::int64_t dim = config.hidden_size;
  class_embedding_ = register_at(*this, "patch_embedder", std::make_shared<torch::nn::Module>())
                         ->register_parameter("class_embedding", torch::empty({1, 1, dim}));
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    const std::string block = "patch_embedder.resnet_block.block" + std::to_string(i + 1);
    group_norms_[i] = register_at(*this, block + ".groupnorm", LayerNorm(dim, kGroupEps));
    convolutions_[i] = register_at(*this, block + ".project", Conv1d(dim, dim, 3, 1, 1));
  }
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<PeLayerImpl>(config));
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  norm_ =
      register_module("norm", std::make_shared<torch::nn::Module>())->register_parameter("weight", torch::empty({dim}));
  output_ = register_module("output", Linear(dim, dim, /*with_bias=*/false));
}

Tensor PeTransformerImpl::states_of(const Tensor& steps) const {
  const Tensor embedded = torch::cat({class_embedding_.expand({steps.size(0), 1, -1}), steps}, 1);
  Tensor y = embedded.transpose(1, 2);  // (N, hidden_size, T)
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    y = torch::group_norm(y, /*num_groups=*/1, group_norms_[i]->weight, group_norms_[i]->bias, kGroupEps);
    y = convolutions_[i]->forward(torch::silu(y));
  }
  Tensor x = embedded + y.transpose(1, 2);
  const Rotation rotation = make_rotation(config_, x.size(1), x.device());
  for (const auto& layer : layers_) x = layer->forward(x, rotation);
  return output_->forward(rms_norm(x, norm_, config_.rms_norm_eps));
}

PeHeadImpl::PeHeadImpl(std::int64_t in, std::int64_t out)
    : layer_norm(register_module("layer_norm", LayerNorm(in, kHeadEps))),
      proj(register_module("proj", Linear(in, out, /*with_bias=*/false))) {}

Tensor PeHeadImpl::forward(const Tensor& x) const { return proj->forward(layer_norm->forward(x)); }

namespace detail {

Json read_pe(const char* who, const std::filesystem::path& config_json, const char* model_type) {
  Json json = read_json(who, config_json);
  if (const auto type = get<std::string>(who, json, "model_type"); type != model_type) {
    failure(who, "\"model_type\" is ", shown(type), ", known is ", model_type);
  }
  return json;
}

void read_pe_transformer(const char* who, const Json& json, PeTransformerConfig& config) {
  const auto size = [&](const char* key, std::int64_t most, std::int64_t fallback) {
    return read_size(who, json, key, most, fallback);
  };
  config.hidden_size = size("hidden_size", 16'384, config.hidden_size);
  config.intermediate_size = size("intermediate_size", 65'536, config.intermediate_size);
  config.num_hidden_layers = size("num_hidden_layers", 256, config.num_hidden_layers);
  config.num_attention_heads = size("num_attention_heads", 256, config.num_attention_heads);
  config.num_key_value_heads = size("num_key_value_heads", 256, config.num_attention_heads);
  config.head_dim = size("head_dim", 1'024, config.head_dim);
  config.hidden_act = read_activation(who, json, "hidden_act", config.hidden_act);
  config.rms_norm_eps = read_epsilon(who, json, "rms_norm_eps", config.rms_norm_eps);
  config.attention_bias = get_or(who, json, "attention_bias", config.attention_bias);
  check_heads(who, "num_key_value_heads", config.num_key_value_heads, "num_attention_heads",
              config.num_attention_heads);
  if (config.head_dim % 2 != 0) {
    failure(who, "\"head_dim\" is ", config.head_dim, ", rotary positions want an even number");
  }
  const Json rope = get_or(who, json, "rope_parameters", Json::object());
  if (const auto type = get_or<std::string>(who, rope, "rope_type", "default"); type != "default") {
    failure(who, "\"rope_type\" is ", shown(type), ", known is default");
  }
  config.rope_theta = get_or(who, rope, "rope_theta", config.rope_theta);
  if (!(config.rope_theta > 0 && config.rope_theta < 1e12)) {
    failure(who, "\"rope_theta\" is ", config.rope_theta, ", wanted above 0 and below 1e12");
  }
  const auto dim = static_cast<double>(config.hidden_size);
  const double heads = static_cast<double>(config.head_dim * config.num_attention_heads);
  check_weights(who, 8 * dim * dim + static_cast<double>(config.num_hidden_layers) * dim *
                                         (4 * heads + 3 * static_cast<double>(config.intermediate_size)));
}

ModernBertConfig read_pe_text(const char* who, const Json& json) {
  Json part{{"vocab_size", 50'368},
            {"hidden_size", 1'024},
            {"intermediate_size", 2'624},
            {"num_hidden_layers", 22},
            {"num_attention_heads", 16}};
  const Json own = read_part(who, json, "text_config");
  if (const auto type = get_or<std::string>(who, own, "model_type", "modernbert"); type != "modernbert") {
    failure(who, "\"model_type\" of the texts is ", shown(type), ", known is modernbert");
  }
  part.update(own);
  return read_modernbert(part);
}

PeHead load_pe_head(const char* who, const Checkpoint& checkpoint, const std::string& prefix, std::int64_t in,
                    std::int64_t out) {
  const PeHead head(in, out);
  load_tower(who, *head.ptr(), checkpoint, prefix);
  return head;
}

std::vector<TrainablePart> pe_parts(const std::string& prefix, const PeTransformerImpl& network,
                                    const std::string& head_prefix, const PeHead& head) {
  std::vector<TrainablePart> parts;
  for (const auto& child : network.named_children()) {
    const auto place = child.key() == "embedder" ? parts.begin() : parts.end();  // registered last, used first
    parts.insert(place, {prefix + child.key() + ".", child.value()});
  }
  parts.push_back({head_prefix, head.ptr()});
  return parts;
}

PeScore PeScore::load(const char* who, const Checkpoint& checkpoint, const std::string& pair) {
  return {.scale = load_scalar(who, checkpoint, pair + "_logit_scale"),
          .bias = load_scalar(who, checkpoint, pair + "_logit_bias")};
}

std::string PeScore::describe() const {
  return "sigmoid of " + std::to_string(scale) + " * product" + (bias < 0 ? " - " : " + ") +
         std::to_string(std::abs(bias));
}

PeTextPart PeTextPart::load(const char* who, const ModelFiles& files, const char* model_type,
                            const ModernBertConfig& config) {
  TextNetwork network = modernbert_network(config);
  network.model_type = model_type;
  network.prefix = "text_model.";
  return {.model = std::make_shared<const TextModel>(who, files, std::move(network))};
}

Tensor PeTextPart::states(const std::vector<std::string>& texts) const {
  return model->run(texts, model->network().hidden_size,
                    [](const Tensor& hidden, const Tensor&) { return hidden.select(1, 0); });
}

std::unique_ptr<TextEncoder> PeTextPart::tower(const PeHead& head, const std::string& prefix) const {
  return std::make_unique<PeTextTower>(*this, head, prefix);
}

}  // namespace detail

}  // namespace trine
