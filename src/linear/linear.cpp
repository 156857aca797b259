#include "linear/linear.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "linear/backend.h"
#include "linear/memory.h"
#include "linear/ours.h"

namespace trine::detail {

using torch::Tensor;

namespace {

/// That go through layers one after the other: whole tiles, 128 for each thread.
std::int64_t rows_at_once() { return std::int64_t{128} * at::get_num_threads(); }

/// part(first row, rows) for so many rows at a time.
template <typename Part>
void in_parts(std::int64_t rows, Part part) {
  const std::int64_t step = rows_at_once();
  for (std::int64_t row = 0; row < rows; row += step) part(row, std::min(step, rows - row));
}

/// (rows, out) -> as x, whose last dimension becomes out
Tensor shaped_as(const Tensor& x, const Tensor& rows) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.back() = rows.size(1);
  return rows.view(shape);
}

/// Null: not in the same pass.
std::optional<Function> function_of(Activation activation) {
  switch (activation) {
    case Activation::identity:
      return Function::identity;
    case Activation::gelu:
      return Function::gelu;
    case Activation::gelu_tanh:
      return Function::gelu_tanh;
    case Activation::quick_gelu:
      return Function::quick_gelu;
    case Activation::relu:
      return Function::relu;
    case Activation::silu:
      return Function::silu;
    case Activation::tanh:
    case Activation::sigmoid:
      break;
  }
  return std::nullopt;
}

/// (out, in), also of a convolution whose inputs are laid out as its weights are.
Tensor matrix(const Tensor& weight) { return weight.dim() == 2 ? weight : weight.flatten(1); }

/// Changes when a tensor gets other values.
std::pair<const void*, std::uint32_t> stamp(const Tensor& tensor) {
  if (!tensor.defined()) return {nullptr, 0};
  return {tensor.const_data_ptr(), tensor.is_inference() ? 0 : tensor._version()};
}

}  // namespace

class InferenceLinear::State {
 public:
  explicit State(std::vector<Parameters> layers) : layers_(std::move(layers)) {
    for (const auto& [weight, bias] : layers_) out_ += weight.size(0);
    precision_ = precision_of({in(), out_});
  }

  State(Parameters layer, std::int64_t first, std::int64_t last)
      : layers_{std::move(layer)}, first_(first), last_(last), out_(last - first) {
    precision_ = precision_of({in(), out_});
  }

  std::int64_t in() const { return layers_.front().first.numel() / layers_.front().first.size(0); }
  std::int64_t out() const { return out_; }
  Precision precision() const { return precision_; }

  Tensor plain(const Tensor& x) const {
    std::vector<Tensor> parts;
    for (const auto& [weight, bias] : layers_) parts.push_back(torch::linear(x, rows(matrix(weight)), rows(bias)));
    return parts.size() == 1 ? parts.front() : torch::cat(parts, -1);
  }

  /// Of the weights as they are now.
  std::shared_ptr<const PackedLinear> packed() const {
    std::vector<std::pair<const void*, std::uint32_t>> stamps;
    for (const auto& [weight, bias] : layers_) {
      stamps.push_back(stamp(weight));
      stamps.push_back(stamp(bias));
    }
    const std::lock_guard lock(mutex_);
    if (packed_ == nullptr || stamps != stamps_) {
      packed_ = pack(precision_, weight(), bias());
      stamps_ = std::move(stamps);
    }
    return packed_;
  }

 private:
  /// Of a weight's or a bias's outputs those that are wanted.
  Tensor rows(const Tensor& x) const { return x.defined() && last_ != 0 ? x.slice(0, first_, last_) : x; }

  Tensor weight() const {
    if (layers_.size() == 1) return rows(matrix(layers_.front().first.detach()));
    std::vector<Tensor> weights;
    for (const auto& [weight, bias] : layers_) weights.push_back(matrix(weight.detach()));
    return torch::cat(weights);
  }

  Tensor bias() const {
    if (layers_.size() == 1) {
      return layers_.front().second.defined() ? rows(layers_.front().second.detach()) : Tensor();
    }
    std::vector<Tensor> biases;
    for (const auto& [weight, bias] : layers_) {
      biases.push_back(bias.defined() ? bias.detach() : torch::zeros({weight.size(0)}));
    }
    return torch::cat(biases);
  }

  std::vector<Parameters> layers_;
  std::int64_t first_ = 0, last_ = 0;  ///< 0 and 0: all outputs
  std::int64_t out_ = 0;
  Precision precision_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const PackedLinear> packed_;
  mutable std::vector<std::pair<const void*, std::uint32_t>> stamps_;
};

InferenceLinear::InferenceLinear(const std::vector<Linear>& layers)
    : InferenceLinear([&] {
        std::vector<Parameters> parameters;
        for (const Linear& layer : layers) parameters.emplace_back(layer->weight, layer->bias);
        return parameters;
      }()) {}

InferenceLinear::InferenceLinear(std::vector<Parameters> layers) : state_(std::make_shared<State>(std::move(layers))) {}

InferenceLinear::InferenceLinear(Parameters layer, std::int64_t first, std::int64_t last)
    : state_(std::make_shared<State>(std::move(layer), first, last)) {}

Precision InferenceLinear::precision() const { return state_->precision(); }

Tensor InferenceLinear::forward(const Tensor& x, Activation activation) const {
  const auto function = function_of(activation);
  const Tensor fused = run(x, function.value_or(Function::identity), {});
  if (!fused.defined()) return activate(state_->plain(x), activation);
  return function ? fused : activate(fused, activation);
}

Tensor InferenceLinear::forward_relu6(const Tensor& x) const {
  const Tensor fused = run(x, Function::relu6, {});
  return fused.defined() ? fused : state_->plain(x).clamp(0, 6);
}

Tensor InferenceLinear::forward_add(const Tensor& x, const Tensor& residual) const {
  const Tensor fused = run(x, Function::identity, residual);
  return fused.defined() ? fused : state_->plain(x) + residual;
}

bool InferenceLinear::has_parts(const Tensor& x) const {
  return is_ours(x) && has_kernel(Precision::fp32) && x.numel() > rows_at_once() * state_->in();
}

Tensor InferenceLinear::forward_normed(const LayerNorm& norm, const Tensor& x) const {
  if (!has_parts(x)) return forward(norm->forward(x));
  const Tensor rows = x.reshape({-1, state_->in()}).contiguous();
  Tensor out = reused({rows.size(0), state_->out()});
  const auto layer = state_->packed();
  in_parts(rows.size(0), [&](std::int64_t row, std::int64_t count) {
    Tensor to = out.narrow(0, row, count);
    layer->forward(norm->forward(rows.narrow(0, row, count)), Function::identity, {}, to);
  });
  return shaped_as(x, out);
}

/// Undefined: torch's own is wanted.
Tensor InferenceLinear::run(const Tensor& x, Function function, const Tensor& residual) const {
  if (!is_ours(x) || !has_kernel(Precision::fp32)) return {};
  const Tensor rows = x.reshape({-1, state_->in()}).contiguous();
  Tensor out = reused({rows.size(0), state_->out()});
  const Tensor added = residual.defined() ? residual.reshape({-1, state_->out()}).contiguous() : Tensor();
  state_->packed()->forward(rows, function, added, out);
  return shaped_as(x, out);
}

Tensor feed_forward_in_parts(const LayerNorm* norm, const InferenceLinear& expand, Activation activation,
                             const InferenceLinear& contract, const Tensor& x, const Tensor& residual) {
  const std::optional<Function> function = function_of(activation);
  if (!function || !expand.has_parts(x)) {
    return contract.forward_add(expand.forward(norm == nullptr ? x : (*norm)->forward(x), activation), residual);
  }
  const Tensor rows = x.reshape({-1, expand.state_->in()}).contiguous();
  const Tensor added = residual.reshape({-1, contract.state_->out()}).contiguous();
  Tensor out = reused(added.sizes());
  const Tensor between = reused({rows_at_once(), expand.state_->out()});
  const auto first_layer = expand.state_->packed(), second_layer = contract.state_->packed();
  in_parts(rows.size(0), [&](std::int64_t row, std::int64_t count) {
    const Tensor from = rows.narrow(0, row, count);
    Tensor wide = between.narrow(0, 0, count), to = out.narrow(0, row, count);
    first_layer->forward(norm == nullptr ? from : (*norm)->forward(from), *function, {}, wide);
    second_layer->forward(wide, Function::identity, added.narrow(0, row, count), to);
  });
  return out.view(residual.sizes());
}

Tensor feed_forward(const InferenceLinear& expand, Activation activation, const InferenceLinear& contract,
                    const Tensor& x, const Tensor& residual) {
  return feed_forward_in_parts(nullptr, expand, activation, contract, x, residual);
}

Tensor feed_forward(const LayerNorm& norm, const InferenceLinear& expand, Activation activation,
                    const InferenceLinear& contract, const Tensor& x) {
  return feed_forward_in_parts(&norm, expand, activation, contract, x, x);
}

}  // namespace trine::detail
