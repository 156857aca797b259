#include "encoders/post_norm.h"

#include "detail/error.h"
#include "linear/attention.h"
#include "linear/ours.h"

namespace trine::detail {

using torch::Tensor;

PostNormLayer::PostNormLayer(const PostNormSizes& sizes, const PostNormKeys& keys)
    : heads_(sizes.heads), activation_(sizes.activation) {
  const std::int64_t dim = sizes.dim;
  const auto linear = [&](const char* key, std::int64_t in, std::int64_t out) {
    return register_at(*this, key, Linear(in, out));
  };
  const Linear query = linear(keys.query, dim, dim), key = linear(keys.key, dim, dim);
  qkv_ = InferenceLinear({query, key, linear(keys.value, dim, dim)});
  out_ = InferenceLinear({linear(keys.attention_out, dim, dim)});
  attention_norm_ = register_at(*this, keys.attention_norm, LayerNorm(dim, sizes.eps));
  expand_ = InferenceLinear({linear(keys.expand, dim, sizes.hidden)});
  contract_ = InferenceLinear({linear(keys.contract, sizes.hidden, dim)});
  output_norm_ = register_at(*this, keys.output_norm, LayerNorm(dim, sizes.eps));
}

Tensor PostNormLayer::forward(const Tensor& input, const Tensor& mask) const {
  const auto qkv = qkv_.forward(input).chunk(3, -1);
  return after_attention(self_attention(qkv[0], qkv[1], qkv[2], heads_, mask), input);
}

Tensor PostNormLayer::forward(const Tensor& tokens, const std::vector<std::int64_t>& lengths) const {
  return after_attention(attend_texts(qkv_.forward(tokens), lengths, heads_, qkv_.precision()), tokens);
}

Tensor PostNormLayer::after_attention(const Tensor& attended, const Tensor& input) const {
  const Tensor x = attention_norm_->forward(out_.forward_add(attended, input));
  return output_norm_->forward(feed_forward(expand_, activation_, contract_, x, x));
}

std::vector<std::shared_ptr<PostNormLayer>> register_layers(torch::nn::Module& root, const PostNormSizes& sizes,
                                                            const PostNormKeys& keys) {
  std::vector<std::shared_ptr<PostNormLayer>> layers;
  torch::nn::ModuleList list;
  for (std::int64_t i = 0; i < sizes.layers; ++i) {
    layers.push_back(std::make_shared<PostNormLayer>(sizes, keys));
    list->push_back(layers.back());
  }
  register_at(root, keys.layers, list);
  return layers;
}

Tensor run_layers(const std::vector<std::shared_ptr<PostNormLayer>>& layers, const Tensor& input, const Tensor& mask) {
  const std::int64_t columns = input.size(1);
  const Tensor lengths = mask.sum(1);
  const bool packs =
      is_ours(input) && mask.equal(torch::arange(columns) < lengths.unsqueeze(1));  // padding stands behind the text
  if (!packs) {
    Tensor x = input;
    for (const auto& layer : layers) x = layer->forward(x, mask);
    return x;
  }
  const std::vector<std::int64_t> tokens(lengths.const_data_ptr<std::int64_t>(),
                                         lengths.const_data_ptr<std::int64_t>() + lengths.numel());
  const Tensor places = mask.flatten().nonzero().squeeze(1);
  Tensor x = input.flatten(0, 1).index_select(0, places);
  for (const auto& layer : layers) x = layer->forward(x, tokens);
  return torch::zeros_like(input).flatten(0, 1).index_copy_(0, places, x).view(input.sizes());
}

Tensor positions_after(const Tensor& ids, std::int64_t padding_idx) {
  const Tensor real = ids.ne(padding_idx).to(torch::kInt64);
  return real.cumsum(1) * real + padding_idx;
}

void check_length(const char* who, const Tensor& ids, std::int64_t most) {
  if (ids.size(1) > most) bad_argument(who, ids.size(1), " tokens, at most ", most, " have positions");
}

void check_post_norm_weights(const char* who, std::int64_t layers, std::int64_t dim, std::int64_t hidden,
                             std::int64_t rows) {
  const auto d = static_cast<double>(dim);
  check_weights(who, d * static_cast<double>(rows) +
                         static_cast<double>(layers) * (4 * d * d + 2 * d * static_cast<double>(hidden)));
}

}  // namespace trine::detail
