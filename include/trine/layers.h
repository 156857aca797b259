#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "trine/checkpoint.h"
#include "trine/export.h"

/// The layers that encoders and heads are made of. Parameters are registered without being initialised: they come from
/// a checkpoint (`load_weights`) or from `reset_parameters` before training.

namespace trine {

/// x W^T + b. weight (out, in), bias (out). (..., in) -> (..., out)
class TRINE_API LinearImpl : public torch::nn::Module {
 public:
  LinearImpl(std::int64_t in, std::int64_t out, bool with_bias = true);
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;
  torch::Tensor bias;  ///< undefined without bias
};
TORCH_MODULE(Linear);

/// Normalises the last dimension. (..., dim) -> (..., dim)
class TRINE_API LayerNormImpl : public torch::nn::Module {
 public:
  explicit LayerNormImpl(std::int64_t dim, double eps = 1e-5, bool with_bias = true);
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;
  torch::Tensor bias;  ///< undefined without bias
  double eps;
};
TORCH_MODULE(LayerNorm);

/// Rows of a table. (...) int64 -> (..., dim)
class TRINE_API EmbeddingImpl : public torch::nn::Module {
 public:
  EmbeddingImpl(std::int64_t rows, std::int64_t dim);
  torch::Tensor forward(const torch::Tensor& ids) const;

  torch::Tensor weight;
};
TORCH_MODULE(Embedding);

/// Convolution over time. weight (out, in, kernel). (N, in, T) -> (N, out, T')
class TRINE_API Conv1dImpl : public torch::nn::Module {
 public:
  Conv1dImpl(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride = 1, std::int64_t padding = 0);
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;
  torch::Tensor bias;
  std::int64_t stride;
  std::int64_t padding;
};
TORCH_MODULE(Conv1d);

using Pair = std::array<std::int64_t, 2>;  ///< rows, columns

/// Convolution over a picture. weight (out, in, kernel rows, kernel columns). (N, in, H, W) -> (N, out, H', W')
class TRINE_API Conv2dImpl : public torch::nn::Module {
 public:
  Conv2dImpl(std::int64_t in, std::int64_t out, Pair kernel, Pair stride = {1, 1}, Pair padding = {0, 0});
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;
  torch::Tensor bias;
  Pair stride;
  Pair padding;
};
TORCH_MODULE(Conv2d);

/// Learned pooling: `num_heads` queries, each a softmax over the steps of its share of the channels.
/// (N, T, dim), mask (N, T) bool with true = real step -> (N, dim). A sample needs one real step.
class TRINE_API AttentionPoolingImpl : public torch::nn::Module {
 public:
  AttentionPoolingImpl(std::int64_t dim, std::int64_t num_heads);
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask) const;

  Linear scores{nullptr};  ///< dim -> num_heads
  Linear values{nullptr};  ///< dim -> dim

 private:
  std::int64_t num_heads_;
};
TORCH_MODULE(AttentionPooling);

/// Multi-head attention of a sequence to itself from separate q, k, v. All (N, T, dim); mask (N, T) bool or undefined,
/// or of four dimensions for (N, num_heads, T, T): bool, or floats to add to the scores; causal: no step sees a later
/// one
/// -> (N, T, dim). Without a mask q may have steps of its own, (N, Q, dim).
TRINE_API torch::Tensor self_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                       std::int64_t num_heads, const torch::Tensor& mask = {}, bool causal = false);

/// Mean over real steps. (N, T, D), mask (N, T) bool -> (N, D); zeros for a sample without one.
TRINE_API torch::Tensor masked_mean(const torch::Tensor& x, const torch::Tensor& mask);

/// Unit length in the last dimension.
TRINE_API torch::Tensor normalise(const torch::Tensor& x);

/// A tensor of a checkpoint as fp32. Shares the mapped file where the bytes already are aligned fp32: do not write to
/// it.
TRINE_API torch::Tensor load_tensor(const Checkpoint& checkpoint, const std::string& name);

/// Fills every parameter and buffer of `module` from the tensor `prefix + its name`, matched by name and shape.
/// Errors: std::runtime_error naming the key, the wanted and the found shape or type. Tensors the module does not know
/// are left.
TRINE_API void load_weights(torch::nn::Module& module, const Checkpoint& checkpoint, const std::string& prefix = "");

/// Fills a module's parameters and buffers with those given, where the names occur; copies, so that they can be
/// trained.
TRINE_API void copy_weights(torch::nn::Module& module, const Checkpoint& checkpoint, const std::string& prefix = "");

/// Copies `tensors` into every parameter and buffer of `module`. std::out_of_range for a name that is missing.
TRINE_API void copy_weights(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& tensors);

/// Every parameter and buffer by name, as they are written to a safetensors file.
TRINE_API std::map<std::string, torch::Tensor> state_dict(const torch::nn::Module& module);

/// Writes tensors as one safetensors file; `half` stores matrices (2-D and more) as fp16.
TRINE_API void save_tensors(const std::filesystem::path& path, const std::map<std::string, torch::Tensor>& tensors,
                            const std::map<std::string, std::string>& metadata = {}, bool half = false);

/// torch.nn's initialisation: uniform within 1/sqrt(fan in) for matrices and their biases, ones and zeros for norms and
/// their running statistics.
TRINE_API void reset_parameters(torch::nn::Module& module);

}  // namespace trine
