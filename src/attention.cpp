#include "trine/attention.h"

#include <cmath>

#include "module_folder.h"
#include "tensor_check.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kWho = "CrossModalAttention";
constexpr const char* kModelType = "cross_modal_attention";
constexpr double kDropout = 0.1;  ///< torch.nn.TransformerEncoderLayer's

/// A layer as torch.nn starts it.
template <typename Layer>
Layer started(Layer layer) {
  reset_parameters(*layer);
  return layer;
}

void check_heads(const char* who, std::int64_t dim, std::int64_t num_heads) {
  if (dim < 1 || num_heads < 1 || dim % num_heads != 0) {
    detail::bad_argument(who, "dim ", dim, " is not a multiple of num_heads ", num_heads);
  }
}

/// Attention of a sequence to itself, under the keys of torch.nn.MultiheadAttention.
class SelfAttentionImpl : public torch::nn::Module {
 public:
  SelfAttentionImpl(std::int64_t dim, std::int64_t num_heads)
      : num_heads_(num_heads),
        in_weight_(register_parameter("in_proj_weight", torch::empty({3 * dim, dim}))),
        in_bias_(register_parameter("in_proj_bias", torch::zeros({3 * dim}))),
        out_proj_(register_module("out_proj", started(Linear(dim, dim)))) {
    torch::nn::init::xavier_uniform_(in_weight_);
    torch::nn::init::zeros_(out_proj_->bias);
  }

  /// (B, T, D), mask (B, T) with a real step in each row -> (B, T, D)
  Tensor forward(const Tensor& x, const Tensor& mask) const {
    const Tensor qkv = torch::linear(x, in_weight_, in_bias_).unflatten(-1, {3, num_heads_, -1});
    const std::vector<Tensor> parts = qkv.permute({2, 0, 3, 1, 4}).unbind();  // each (B, H, T, D / H)
    const Tensor mixed = torch::scaled_dot_product_attention(
        parts[0], parts[1], parts[2], mask.unsqueeze(1).unsqueeze(2), is_training() ? kDropout : 0.0);
    return out_proj_->forward(mixed.transpose(1, 2).flatten(2));
  }

 private:
  std::int64_t num_heads_;
  Tensor in_weight_;
  Tensor in_bias_;
  Linear out_proj_{nullptr};
};
TORCH_MODULE(SelfAttention);

}  // namespace

CrossModalAttentionImpl::CrossModalAttentionImpl(std::int64_t dim, std::int64_t num_heads)
    : dim_(dim), num_heads_(num_heads) {
  check_heads(kWho, dim, num_heads);
  q_proj_ = register_module("q_proj", started(Linear(dim, dim)));
  k_proj_ = register_module("k_proj", started(Linear(dim, dim)));
  v_proj_ = register_module("v_proj", started(Linear(dim, dim)));
  out_proj_ = register_module("out_proj", started(Linear(dim, dim)));
}

Attended CrossModalAttentionImpl::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                          const Tensor& key_mask) const {
  const Tensor& source = value.defined() ? value : key;
  const bool fits = detail::is_floats(query, {-1, -1, dim_}) && detail::is_floats(key, {query.size(0), -1, dim_}) &&
                    detail::is_floats(source, key.sizes());
  if (!fits) {
    detail::bad_argument(kWho, "wanted a query (B, Tq, ", dim_, ") and a key and value (B, Tk, ", dim_, "); got ",
                         detail::shown(query), ", ", detail::shown(key), " and ", detail::shown(source));
  }
  const Tensor mask = detail::mask_or_ones(kWho, "key_mask", key_mask, key.sizes().slice(0, 2), key);
  const auto heads = [&](const Tensor& x) { return x.unflatten(-1, {num_heads_, -1}).transpose(1, 2); };
  const Tensor keys = blank_padding(key, mask);
  const Tensor values = value.defined() ? blank_padding(value, mask) : keys;
  const Tensor q = heads(q_proj_->forward(query));
  const Tensor k = heads(k_proj_->forward(keys));
  const Tensor v = heads(v_proj_->forward(values));
  const Tensor some = mask.any(1).unsqueeze(1).unsqueeze(2);  // (B, 1, 1)
  // a row without a key is left open, so that its softmax is finite, and then blanked
  const Tensor closed = (~mask).unsqueeze(1).logical_and(some).unsqueeze(2);  // (B, 1, 1, Tk)
  const Tensor scores = q.matmul(k.transpose(-2, -1)) / std::sqrt(static_cast<double>(dim_ / num_heads_));
  const Tensor weights = scores.masked_fill(closed, -INFINITY).softmax(-1) * some.unsqueeze(3).to(scores.scalar_type());
  const Tensor output = out_proj_->forward(weights.matmul(v).transpose(1, 2).flatten(2));
  return {output * some.to(output.scalar_type()), weights};
}

void CrossModalAttentionImpl::save(const std::filesystem::path& directory) const {
  const detail::Json config{{"model_type", kModelType}, {"dim", dim_}, {"num_heads", num_heads_}};
  detail::save_module(kWho, directory, config, *this);
}

std::shared_ptr<CrossModalAttentionImpl> CrossModalAttentionImpl::load(const std::filesystem::path& directory) {
  return detail::load_module(kWho, directory, kModelType, [](const detail::Json& config) {
    const std::int64_t dim = detail::read_size(kWho, config, "dim", detail::kMostWidth);
    detail::check_weights(kWho, 4.0 * static_cast<double>(dim) * static_cast<double>(dim));
    return std::make_shared<CrossModalAttentionImpl>(dim, detail::read_size(kWho, config, "num_heads", dim));
  });
}

/// One layer: attention and a network of two linear layers, each with a residual that is then normalised.
class TransformerLayerImpl : public torch::nn::Module {
 public:
  TransformerLayerImpl(std::int64_t dim, std::int64_t num_heads, std::int64_t ff_dim)
      : self_attn_(register_module("self_attn", SelfAttention(dim, num_heads))),
        linear1_(register_module("linear1", started(Linear(dim, ff_dim)))),
        linear2_(register_module("linear2", started(Linear(ff_dim, dim)))),
        norm1_(register_module("norm1", started(LayerNorm(dim)))),
        norm2_(register_module("norm2", started(LayerNorm(dim)))) {}

  Tensor forward(const Tensor& x, const Tensor& mask) const {
    const auto drop = [&](const Tensor& y) { return torch::dropout(y, kDropout, is_training()); };
    const Tensor attended = norm1_->forward(x + drop(self_attn_->forward(x, mask)));
    const Tensor inner = drop(torch::relu(linear1_->forward(attended)));
    return norm2_->forward(attended + drop(linear2_->forward(inner)));
  }

 private:
  SelfAttention self_attn_{nullptr};
  Linear linear1_{nullptr};
  Linear linear2_{nullptr};
  LayerNorm norm1_{nullptr};
  LayerNorm norm2_{nullptr};
};

TransformerEncoderImpl::TransformerEncoderImpl(std::int64_t dim, std::int64_t num_heads, std::int64_t num_layers,
                                               std::int64_t ff_dim) {
  check_heads("TransformerEncoder", dim, num_heads);
  const auto list = register_module("layers", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < num_layers; ++i) {
    const auto layer = std::make_shared<TransformerLayerImpl>(dim, num_heads, ff_dim);
    layers_.push_back(list->register_module(std::to_string(i), layer));
  }
}

Tensor TransformerEncoderImpl::forward(const Tensor& x, const Tensor& mask) const {
  const Tensor safe = mask | ~mask.any(1, /*keepdim=*/true);  // softmax over nothing would not be a number
  Tensor steps = x;
  for (const auto& layer : layers_) steps = layer->forward(steps, safe);
  return steps * mask.unsqueeze(-1).to(steps.scalar_type());
}

Tensor blank_padding(const Tensor& x, const Tensor& mask) { return x.masked_fill(~mask.unsqueeze(-1), 0); }

}  // namespace trine
