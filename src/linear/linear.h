#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "linear/choose.h"
#include "trine/encoders/transformer.h"
#include "trine/layers.h"

/// Linear layers as encoders compute them: packed, what follows them in the same pass.

namespace trine::detail {

enum class Function : int;  ///< of linear/rows.h

/// One layer, or several with the same input side by side. Knows the parameters of its layers, not copies of them: what
/// is loaded, trained or replaced later counts. Where gradients are recorded, and off the CPU, it is torch's own.
class InferenceLinear {
 public:
  using Parameters =
      std::pair<torch::Tensor, torch::Tensor>;  ///< weight (out, in or what makes in), bias (out) or undefined

  InferenceLinear() = default;  ///< of no layer, until one is assigned
  explicit InferenceLinear(const std::vector<Linear>& layers);
  explicit InferenceLinear(std::vector<Parameters> layers);
  /// Of a layer's outputs those from `first` to below `last`.
  InferenceLinear(Parameters layer, std::int64_t first, std::int64_t last);
  bool is_empty() const { return state_ == nullptr; }
  Precision precision() const;  ///< fp32, bf16 or int8

  /// (..., in) -> (..., sum of out)
  torch::Tensor forward(const torch::Tensor& x, Activation activation = Activation::identity) const;
  /// The same of what `norm` makes of x.
  torch::Tensor forward_normed(const LayerNorm& norm, const torch::Tensor& x) const;
  /// The same with ReLU6.
  torch::Tensor forward_relu6(const torch::Tensor& x) const;
  /// The same plus `residual`, of the result's shape.
  torch::Tensor forward_add(const torch::Tensor& x, const torch::Tensor& residual) const;

 private:
  friend torch::Tensor feed_forward_in_parts(const LayerNorm* norm, const InferenceLinear& expand,
                                             Activation activation, const InferenceLinear& contract,
                                             const torch::Tensor& x, const torch::Tensor& residual);
  /// Whether there are more rows than are computed at once.
  bool has_parts(const torch::Tensor& x) const;
  class State;
  torch::Tensor run(const torch::Tensor& x, Function function, const torch::Tensor& residual) const;

  std::shared_ptr<State> state_;
};

/// What ends a transformer's block: `residual` plus contract(activation(expand(x))). Some rows after the others, so
/// that what lies between the layers stays in the cache. x and residual (..., dim)
torch::Tensor feed_forward(const InferenceLinear& expand, Activation activation, const InferenceLinear& contract,
                           const torch::Tensor& x, const torch::Tensor& residual);
/// The same of what `norm` makes of x, plus x.
torch::Tensor feed_forward(const LayerNorm& norm, const InferenceLinear& expand, Activation activation,
                           const InferenceLinear& contract, const torch::Tensor& x);

}  // namespace trine::detail
