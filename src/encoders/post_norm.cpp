#include "encoders/post_norm.h"

#include "detail/error.h"

namespace trine::detail {

using torch::Tensor;

PostNormLayer::PostNormLayer(const PostNormSizes& sizes, const PostNormKeys& keys)
    : heads_(sizes.heads), activation_(sizes.activation) {
  const std::int64_t dim = sizes.dim;
  query_ = register_at(*this, keys.query, Linear(dim, dim));
  key_ = register_at(*this, keys.key, Linear(dim, dim));
  value_ = register_at(*this, keys.value, Linear(dim, dim));
  out_ = register_at(*this, keys.attention_out, Linear(dim, dim));
  attention_norm_ = register_at(*this, keys.attention_norm, LayerNorm(dim, sizes.eps));
  expand_ = register_at(*this, keys.expand, Linear(dim, sizes.hidden));
  contract_ = register_at(*this, keys.contract, Linear(sizes.hidden, dim));
  output_norm_ = register_at(*this, keys.output_norm, LayerNorm(dim, sizes.eps));
}

Tensor PostNormLayer::forward(const Tensor& input, const Tensor& mask) const {
  const Tensor attended =
      self_attention(query_->forward(input), key_->forward(input), value_->forward(input), heads_, mask);
  const Tensor x = attention_norm_->forward(out_->forward(attended) + input);
  return output_norm_->forward(contract_->forward(activate(expand_->forward(x), activation_)) + x);
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
