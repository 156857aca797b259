#include "encoders/activation.h"

#include <algorithm>
#include <array>
#include <string>

#include "detail/error.h"
#include "detail/json.h"

namespace trine::detail {

using torch::Tensor;

namespace {

Tensor gelu(const Tensor& x) { return torch::gelu(x); }
Tensor gelu_tanh(const Tensor& x) { return torch::gelu(x, "tanh"); }
Tensor quick_gelu(const Tensor& x) { return x * torch::sigmoid(1.702 * x); }
Tensor relu(const Tensor& x) { return torch::relu(x); }
Tensor silu(const Tensor& x) { return torch::silu(x); }
Tensor tanh(const Tensor& x) { return torch::tanh(x); }
Tensor sigmoid(const Tensor& x) { return torch::sigmoid(x); }
Tensor identity(const Tensor& x) { return x; }

constexpr const char* kTanhForm = "gelu (tanh approximation)";
constexpr std::array<ActivationFunction, 12> kActivations{{
    {"gelu", "GELU", "gelu (exact)", gelu},
    {"gelu_python", nullptr, "gelu (exact)", gelu},
    {"gelu_new", nullptr, kTanhForm, gelu_tanh},
    {"gelu_fast", nullptr, kTanhForm, gelu_tanh},
    {"gelu_pytorch_tanh", nullptr, kTanhForm, gelu_tanh},
    {"quick_gelu", nullptr, "quick gelu, x sigmoid(1.702 x)", quick_gelu},
    {"relu", "ReLU", "relu", relu},
    {"silu", "SiLU", "silu", silu},
    {"swish", nullptr, "silu", silu},
    {"tanh", "Tanh", "tanh", tanh},
    {"sigmoid", "Sigmoid", "sigmoid", sigmoid},
    {"linear", "Identity", "none", identity},
}};

const ActivationFunction& find(const char* who, const char* key, std::string_view shown_name, std::string_view wanted,
                               const char* const ActivationFunction::*column) {
  const auto found = std::find_if(kActivations.begin(), kActivations.end(), [&](const ActivationFunction& a) {
    return a.*column != nullptr && wanted == a.*column;
  });
  if (found != kActivations.end()) return *found;
  std::string known;
  for (const ActivationFunction& a : kActivations) {
    if (a.*column != nullptr) known += std::string(known.empty() ? "" : ", ") + a.*column;
  }
  failure(who, "\"", key, "\" is ", shown(shown_name), ", known are ", known);
}

}  // namespace

const ActivationFunction& activation(const char* who, const char* key, std::string_view name) {
  return find(who, key, name, name, &ActivationFunction::name);
}

const ActivationFunction& torch_activation(const char* who, const char* key, std::string_view class_name) {
  // sentence-transformers takes a class of another package only from those it trusts
  const std::string_view last =
      class_name.starts_with("torch.") ? class_name.substr(class_name.rfind('.') + 1) : std::string_view();
  return find(who, key, class_name, last, &ActivationFunction::torch_class);
}

}  // namespace trine::detail
