#include "trine/layers.h"

#include <cmath>

#include "convolve.h"
#include "detail/error.h"
#include "linear/attention.h"
#include "linear/norm.h"
#include "place.h"
#include "set_values.h"

namespace trine {

namespace F = torch::nn::functional;
using torch::Tensor;

namespace {

torch::ScalarType scalar_type(DType type) {
  switch (type) {
    case DType::BOOL:
      return torch::kBool;
    case DType::U8:
      return torch::kUInt8;
    case DType::I8:
      return torch::kInt8;
    case DType::I16:
      return torch::kInt16;
    case DType::F16:
      return torch::kFloat16;
    case DType::BF16:
      return torch::kBFloat16;
    case DType::I32:
      return torch::kInt32;
    case DType::F32:
      return torch::kFloat32;
    case DType::I64:
      return torch::kInt64;
    case DType::F64:
      return torch::kFloat64;
    case DType::U16:
      return torch::kUInt16;
    case DType::U32:
      return torch::kUInt32;
    case DType::U64:
      return torch::kUInt64;
  }
  detail::failure("load_tensor", "unknown element type");
}

DType dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case torch::kFloat32:
      return DType::F32;
    case torch::kFloat64:
      return DType::F64;
    case torch::kFloat16:
      return DType::F16;
    case torch::kBFloat16:
      return DType::BF16;
    case torch::kInt64:
      return DType::I64;
    default:
      detail::bad_argument("save_tensors", "cannot write elements of type ", tensor.scalar_type());
  }
}

Tensor checked(const Checkpoint& checkpoint, const std::string& name, const Tensor& wanted) {
  Tensor found = load_tensor(checkpoint, name);
  if (found.sizes() != wanted.sizes()) {
    detail::failure("load_weights", checkpoint.path(), " holds ", name, " of shape ", found.sizes(), ", wanted ",
                    wanted.sizes());
  }
  if (found.scalar_type() != wanted.scalar_type()) {
    detail::failure("load_weights", checkpoint.path(), " holds ", name, " as ", found.scalar_type(), ", wanted ",
                    wanted.scalar_type());
  }
  return found;
}

/// Gives a tensor of a module its values, on the device of this thread's LoadDevice.
void place(Tensor& tensor, const Tensor& values) { detail::set_values(tensor, values.to(detail::load_device())); }

}  // namespace

LinearImpl::LinearImpl(std::int64_t in, std::int64_t out, bool with_bias)
    : weight(register_parameter("weight", torch::empty({out, in}))) {
  if (with_bias) bias = register_parameter("bias", torch::empty({out}));
}

Tensor LinearImpl::forward(const Tensor& x) const { return torch::linear(x, weight, bias); }

LayerNormImpl::LayerNormImpl(std::int64_t dim, double epsilon, bool with_bias)
    : weight(register_parameter("weight", torch::empty({dim}))), eps(epsilon) {
  if (with_bias) bias = register_parameter("bias", torch::empty({dim}));
}

Tensor LayerNormImpl::forward(const Tensor& x) const {
  if (detail::can_normalise(x, weight)) return detail::normalise(x, weight, bias, eps);
  return torch::layer_norm(x, weight.sizes(), weight, bias, eps);
}

EmbeddingImpl::EmbeddingImpl(std::int64_t rows, std::int64_t dim)
    : weight(register_parameter("weight", torch::empty({rows, dim}))) {}

Tensor EmbeddingImpl::forward(const Tensor& ids) const { return torch::embedding(weight, ids); }

Conv1dImpl::Conv1dImpl(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride_,
                       std::int64_t padding_)
    : weight(register_parameter("weight", torch::empty({out, in, kernel}))),
      bias(register_parameter("bias", torch::empty({out}))),
      stride(stride_),
      padding(padding_) {}

Tensor Conv1dImpl::forward(const Tensor& x) const {
  return detail::convolve(x, weight, bias, {stride}, {padding}, {1});
}

Conv2dImpl::Conv2dImpl(std::int64_t in, std::int64_t out, Pair kernel, Pair stride_, Pair padding_)
    : weight(register_parameter("weight", torch::empty({out, in, kernel[0], kernel[1]}))),
      bias(register_parameter("bias", torch::empty({out}))),
      stride(stride_),
      padding(padding_) {}

Tensor Conv2dImpl::forward(const Tensor& x) const { return detail::convolve(x, weight, bias, stride, padding, {1, 1}); }

AttentionPoolingImpl::AttentionPoolingImpl(std::int64_t dim, std::int64_t num_heads) : num_heads_(num_heads) {
  if (num_heads < 1 || dim % num_heads != 0) {
    detail::bad_argument("AttentionPooling", "dim ", dim, " is not a multiple of num_heads ", num_heads);
  }
  scores = register_module("scores", Linear(dim, num_heads));
  values = register_module("values", Linear(dim, dim));
}

Tensor AttentionPoolingImpl::forward(const Tensor& x, const Tensor& mask) const {
  const Tensor logits = scores->forward(x).masked_fill(~mask.unsqueeze(-1), -INFINITY);     // (N, T, H)
  const Tensor weights = logits.softmax(1).transpose(1, 2).unsqueeze(2);                    // (N, H, 1, T)
  const Tensor heads = values->forward(x).unflatten(-1, {num_heads_, -1}).transpose(1, 2);  // (N, H, T, D/H)
  return weights.matmul(heads).flatten(1);
}

Tensor self_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t num_heads, const Tensor& mask,
                      bool causal) {
  if (!mask.defined() && detail::can_attend(q, k, v, num_heads)) return detail::attend(q, k, v, num_heads, causal);
  const auto split = [&](const Tensor& x) { return x.unflatten(-1, {num_heads, -1}).transpose(1, 2); };
  const std::optional<Tensor> keys =
      mask.defined() ? std::optional<Tensor>(mask.dim() == 2 ? mask.unsqueeze(1).unsqueeze(2) : mask) : std::nullopt;
  return torch::scaled_dot_product_attention(split(q), split(k), split(v), keys, /*dropout_p=*/0.0, causal)
      .transpose(1, 2)
      .flatten(2);
}

Tensor masked_mean(const Tensor& x, const Tensor& mask) {
  const Tensor w = mask.to(x.scalar_type()).unsqueeze(-1);
  return (x * w).sum(1) / w.sum(1).clamp_min(1.0);
}

Tensor normalise(const Tensor& x) { return F::normalize(x, F::NormalizeFuncOptions().dim(-1)); }

Tensor load_tensor(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& view = checkpoint.at(name);
  const torch::ScalarType type = scalar_type(view.dtype);
  const auto address = reinterpret_cast<std::uintptr_t>(view.data.data());
  if (type == torch::kFloat32 && address % alignof(float) == 0 && !view.data.empty()) {
    // the lambda's copy of the checkpoint keeps the file mapped
    return torch::from_blob(const_cast<std::byte*>(view.data.data()), view.shape, [checkpoint](void*) {}, type);
  }
  Tensor tensor = torch::empty(view.shape, type);
  std::copy(view.data.begin(), view.data.end(), static_cast<std::byte*>(tensor.data_ptr()));
  return tensor.is_floating_point() ? tensor.to(torch::kFloat32) : tensor;
}

void load_weights(torch::nn::Module& module, const Checkpoint& checkpoint, const std::string& prefix) {
  for (auto& item : module.named_parameters()) {
    place(item.value(), checked(checkpoint, prefix + item.key(), item.value()));
  }
  for (auto& item : module.named_buffers()) {
    place(item.value(), checked(checkpoint, prefix + item.key(), item.value()));
  }
}

void copy_weights(torch::nn::Module& module, const Checkpoint& checkpoint, const std::string& prefix) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : state_dict(module)) {
    if (checkpoint.contains(prefix + name)) {
      // set_data, not copy_: the present values may be a mapped file
      Tensor(tensor).set_data(
          checked(checkpoint, prefix + name, tensor).to(tensor.device(), tensor.scalar_type(), false, /*copy=*/true));
    }
  }
}

void copy_weights(torch::nn::Module& module, const std::map<std::string, Tensor>& tensors) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : state_dict(module)) Tensor(tensor).copy_(tensors.at(name));
}

std::map<std::string, Tensor> state_dict(const torch::nn::Module& module) {
  std::map<std::string, Tensor> tensors;
  for (const auto& item : module.named_parameters()) tensors.emplace(item.key(), item.value());
  for (const auto& item : module.named_buffers()) tensors.emplace(item.key(), item.value());
  return tensors;
}

void save_tensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                  const std::map<std::string, std::string>& metadata, bool half) {
  std::map<std::string, Tensor> kept;  // contiguous copies must outlive the views
  std::map<std::string, TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    const bool halve = half && tensor.dim() > 1 && tensor.scalar_type() == torch::kFloat32;
    const Tensor written = tensor.detach().to(torch::kCPU, halve ? torch::kFloat16 : tensor.scalar_type());
    const Tensor& ready = kept.emplace(name, written.contiguous()).first->second;
    views[name] = {
        dtype_of(ready), ready.sizes().vec(), {static_cast<const std::byte*>(ready.const_data_ptr()), ready.nbytes()}};
  }
  save_safetensors(path, views, metadata);
}

void reset_parameters(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : module.named_modules()) {
    auto parameters = item.value()->named_parameters(/*recurse=*/false);
    auto buffers = item.value()->named_buffers(/*recurse=*/false);
    if (Tensor* mean = buffers.find("running_mean")) mean->zero_();
    if (Tensor* variance = buffers.find("running_var")) variance->fill_(1.0);
    const Tensor* weight = parameters.find("weight");
    if (weight == nullptr) continue;
    Tensor* bias = parameters.find("bias");
    if (weight->dim() > 1) {
      const double bound = 1.0 / std::sqrt(static_cast<double>(weight->numel() / weight->size(0)));
      Tensor(*weight).uniform_(-bound, bound);
      if (bias != nullptr) bias->uniform_(-bound, bound);
    } else {
      Tensor(*weight).fill_(1.0);
      if (bias != nullptr) bias->zero_();
    }
  }
}

}  // namespace trine
