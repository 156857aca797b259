#include "trine/encoders/transformer.h"

#include <cmath>
#include <memory>

#include "convolve.h"
#include "detail/error.h"
#include "encoders/rotation.h"
#include "linear/attention.h"
#include "linear/linear.h"

namespace trine {

using torch::Tensor;

std::string_view to_string(Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return "gelu (exact)";
    case Activation::gelu_tanh:
      return "gelu (tanh approximation)";
    case Activation::quick_gelu:
      return "quick_gelu, x sigmoid(1.702 x)";
    case Activation::relu:
      return "relu";
    case Activation::silu:
      return "silu";
    case Activation::tanh:
      return "tanh";
    case Activation::sigmoid:
      return "sigmoid";
    case Activation::identity:
      return "none";
  }
  return "unknown";
}

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return torch::gelu(x);
    case Activation::gelu_tanh:
      return torch::gelu(x, "tanh");
    case Activation::quick_gelu:
      return x * torch::sigmoid(1.702 * x);
    case Activation::relu:
      return torch::relu(x);
    case Activation::silu:
      return torch::silu(x);
    case Activation::tanh:
      return torch::tanh(x);
    case Activation::sigmoid:
      return torch::sigmoid(x);
    case Activation::identity:
      return x;
  }
  detail::bad_argument("activate", "unknown activation ", static_cast<int>(activation));
}

namespace {

/// A parameter under a path with dots.
Tensor register_parameter_at(torch::nn::Module& root, std::string_view path, at::IntArrayRef shape) {
  const std::size_t dot = path.find('.');
  const std::string name(path.substr(0, dot));
  if (dot == std::string_view::npos) return root.register_parameter(name, torch::empty(shape));
  const auto children = root.named_children();
  const std::shared_ptr<torch::nn::Module>* child = children.find(name);
  torch::nn::Module& owner =
      child != nullptr ? **child : *root.register_module(name, std::make_shared<torch::nn::Module>());
  return register_parameter_at(owner, path.substr(dot + 1), shape);
}

}  // namespace

struct TransformerImpl::Block : torch::nn::Module {
  Block(const TransformerConfig& config, const TransformerKeys& keys)
      : heads(config.num_attention_heads), activation(config.hidden_act), swiglu(config.use_swiglu_ffn) {
    const std::int64_t dim = config.hidden_size, hidden = config.intermediate_size;
    attention_norm = register_at(*this, keys.attention_norm, LayerNorm(dim, config.layer_norm_eps));
    if (keys.qkv != nullptr) {
      const std::string path = keys.qkv;
      const Tensor weight = register_parameter_at(*this, path + "weight", {3 * dim, dim});
      const Tensor bias = config.qkv_bias ? register_parameter_at(*this, path + "bias", {3 * dim}) : Tensor();
      qkv = detail::InferenceLinear({{weight, bias}});
      if (config.bias_kv) {
        const std::string owner = path.substr(0, path.rfind('.') + 1);
        bias_k = register_parameter_at(*this, owner + "bias_k", {1, 1, dim});
        bias_v = register_parameter_at(*this, owner + "bias_v", {1, 1, dim});
      }
    } else {
      const Linear query = register_at(*this, keys.query, Linear(dim, dim, config.qkv_bias));
      const Linear key = register_at(*this, keys.key, Linear(dim, dim, config.qkv_bias));
      const Linear value = register_at(*this, keys.value, Linear(dim, dim, config.qkv_bias));
      qkv = detail::InferenceLinear({query, key, value});
    }
    out = detail::InferenceLinear({register_at(*this, keys.attention_out, Linear(dim, dim))});
    if (keys.attention_scale != nullptr) attention_scale = register_parameter_at(*this, keys.attention_scale, {dim});
    feed_forward_norm = register_at(*this, keys.feed_forward_norm, LayerNorm(dim, config.layer_norm_eps));
    expand = detail::InferenceLinear({register_at(*this, keys.expand, Linear(dim, swiglu ? 2 * hidden : hidden))});
    contract = detail::InferenceLinear({register_at(*this, keys.contract, Linear(hidden, dim))});
    if (keys.feed_forward_scale != nullptr) {
      feed_forward_scale = register_parameter_at(*this, keys.feed_forward_scale, {dim});
    }
  }

  /// `input` plus what the attention makes of it after its norm.
  Tensor attend(const Tensor& input, bool causal, const std::optional<Rotation>& rotation) const {
    const auto parts = qkv.forward_normed(attention_norm, input).chunk(3, -1);
    Tensor q = parts[0], k = parts[1], v = parts[2];
    if (rotation) {
      q = detail::turn(q.unflatten(-1, {heads, -1}), *rotation).flatten(-2);
      k = detail::turn(k.unflatten(-1, {heads, -1}), *rotation).flatten(-2);
    }
    if (bias_k.defined()) {
      k = torch::cat({k, bias_k.expand({input.size(0), 1, -1})}, 1);
      v = torch::cat({v, bias_v.expand({input.size(0), 1, -1})}, 1);
    }
    return add(out, detail::attention_after(qkv.precision(), q, k, v, heads, /*mask=*/{}, causal), attention_scale,
               input);
  }

  /// `input` plus what the feed-forward part makes of it after its norm.
  Tensor feed_forward(const Tensor& input) const {
    if (!swiglu && !feed_forward_scale.defined()) {
      return detail::feed_forward(feed_forward_norm, expand, activation, contract, input);
    }
    const Tensor x = feed_forward_norm->forward(input);
    if (!swiglu) return add(contract, expand.forward(x, activation), feed_forward_scale, input);
    const auto halves = expand.forward(x).chunk(2, -1);
    return add(contract, torch::silu(halves[0]) * halves[1], feed_forward_scale, input);
  }

  static Tensor add(const detail::InferenceLinear& layer, const Tensor& x, const Tensor& scale, const Tensor& input) {
    return scale.defined() ? input + layer.forward(x) * scale : layer.forward_add(x, input);
  }

  Tensor forward(const Tensor& input, bool causal, const std::optional<Rotation>& rotation) const {
    return feed_forward(attend(input, causal, rotation));
  }

  std::int64_t heads;
  Activation activation;
  bool swiglu;
  LayerNorm attention_norm{nullptr}, feed_forward_norm{nullptr};
  detail::InferenceLinear qkv, out, expand, contract;
  Tensor bias_k, bias_v;
  Tensor attention_scale, feed_forward_scale;
};

TransformerImpl::TransformerImpl(const TransformerConfig& config, const TransformerKeys& keys) {
  torch::nn::ModuleList blocks;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    blocks_.push_back(std::make_shared<Block>(config, keys));
    blocks->push_back(blocks_.back());
  }
  register_module(keys.blocks, blocks);
}

Tensor TransformerImpl::forward(const Tensor& input, bool causal, const std::optional<Rotation>& rotation) const {
  Tensor x = input;
  for (const auto& block : blocks_) x = block->forward(x, causal, rotation);
  return x;
}

namespace {

/// The packed layer of a patch embedding, which owns it as a module without parameters: the header knows no layers.
struct Patches : torch::nn::Module {
  explicit Patches(detail::InferenceLinear layer) : linear(std::move(layer)) {}
  detail::InferenceLinear linear;
};

}  // namespace

PatchEmbeddingImpl::PatchEmbeddingImpl(std::int64_t dim, std::int64_t patch_size, bool with_bias)
    : weight(register_parameter("weight", torch::empty({dim, 3, patch_size, patch_size}))) {
  if (with_bias) bias = register_parameter("bias", torch::empty({dim}));
  register_module("patches", std::make_shared<Patches>(detail::InferenceLinear({{weight, bias}})));
}

/// Patches do not overlap: a linear layer over the numbers of each.
Tensor PatchEmbeddingImpl::forward(const Tensor& pixels) const {
  const std::int64_t side = weight.size(2), rows = pixels.size(2) / side, columns = pixels.size(3) / side;
  if (torch::GradMode::is_enabled()) {
    return detail::convolve(pixels, weight, bias, {side, side}, {0, 0}, {1, 1}).flatten(2).transpose(1, 2);
  }
  const Tensor patches = pixels.slice(2, 0, rows * side)
                             .slice(3, 0, columns * side)
                             .unflatten(3, {columns, side})
                             .unflatten(2, {rows, side})  // (N, 3, rows, side, columns, side)
                             .permute({0, 2, 4, 1, 3, 5})
                             .reshape({pixels.size(0), rows * columns, 3 * side * side});
  return children().front()->as<Patches>()->linear.forward(patches);
}

TokenEmbeddingImpl::TokenEmbeddingImpl(std::int64_t vocab_size, std::int64_t max_positions, std::int64_t dim)
    : tokens_(register_module("token_embedding", Embedding(vocab_size, dim))),
      positions_(register_module("position_embedding", Embedding(max_positions, dim))) {}

Tensor TokenEmbeddingImpl::forward(const Tensor& ids) const {
  const Tensor& positions = positions_->weight;
  if (ids.dim() != 2 || ids.size(1) < 1 || ids.size(1) > positions.size(0)) {
    detail::bad_argument("TokenEmbedding", "ids of shape ", ids.sizes(), ", wanted (N, T) with 1 to ",
                         positions.size(0), " tokens");
  }
  return tokens_->forward(ids) + positions.slice(0, 0, ids.size(1));
}

Tensor resize_positions(const Tensor& positions, std::int64_t rows, std::int64_t columns, PositionResize how) {
  const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(positions.size(0)))));
  // Strides as in each reference: on a channels-last grid torch's anti-aliased kernels give other numbers for one
  // column.
  const Tensor grid = how == PositionResize::antialiased_bilinear
                          ? positions.view({side, side, -1}).permute({2, 0, 1}).unsqueeze(0)
                          : positions.view({1, side, side, -1}).permute({0, 3, 1, 2});
  const auto resized = [&] {
    switch (how) {
      case PositionResize::bicubic:
        return torch::upsample_bicubic2d(grid, {rows, columns}, /*align_corners=*/false);
      case PositionResize::antialiased_bicubic:
        return torch::_upsample_bicubic2d_aa(grid, {rows, columns}, /*align_corners=*/false);
      case PositionResize::antialiased_bilinear:
        return torch::_upsample_bilinear2d_aa(grid, {rows, columns}, /*align_corners=*/false);
    }
    detail::bad_argument("resize_positions", "unknown way ", static_cast<int>(how));
  };
  return resized().flatten(2).squeeze(0).t();
}

}  // namespace trine
