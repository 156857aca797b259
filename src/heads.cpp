#include "trine/heads.h"

namespace trine {

using torch::Tensor;

namespace {
constexpr std::int64_t kKernel = 5;  ///< averaged steps the convolution sees: 0.2 s
}

SpeechHeadImpl::SpeechHeadImpl(const SpeechHeadOptions& o)
    : norm_(register_module("norm", LayerNorm(o.feature_dim))),
      input_(register_module("input", Linear(o.feature_dim, o.width))),
      convolution_(register_module("convolution", Conv1d(o.width, o.width, kKernel, 1, kKernel / 2))),
      pooling_(register_module("pooling", AttentionPooling(o.width, o.num_heads))),
      pooled_norm_(register_module("pooled_norm", LayerNorm(o.width))),
      hidden_(register_module("hidden", Linear(o.width, o.hidden))),
      output_(register_module("output", Linear(o.hidden, o.out_dim))) {}

Tensor SpeechHeadImpl::forward(const Tensor& pairs, const Tensor& mask) {
  const Tensor real = mask.unsqueeze(-1).to(pairs.scalar_type());
  // padding is zero before the convolution, so a clip sees the same beside a longer one as alone
  const Tensor x = torch::gelu(input_->forward(norm_->forward(pairs))) * real;
  const Tensor y = x + torch::gelu(convolution_->forward(x.transpose(1, 2)).transpose(1, 2));
  const Tensor pooled = pooled_norm_->forward(pooling_->forward(torch::dropout(y, dropout, is_training()), mask));
  return output_->forward(torch::dropout(torch::gelu(hidden_->forward(pooled)), dropout, is_training()));
}

Tensor mean_of_pairs(const Tensor& steps) {
  const std::int64_t even = steps.size(0) / 2 * 2;
  const Tensor pairs = steps.slice(0, 0, even).unflatten(0, {even / 2, 2}).mean(1);
  return even == steps.size(0) ? pairs : torch::cat({pairs, steps.slice(0, even)});
}

}  // namespace trine
