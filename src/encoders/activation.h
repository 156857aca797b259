#pragma once

#include <torch/torch.h>

#include <string_view>

namespace trine::detail {

struct ActivationFunction {
  const char* name;         ///< in transformers' config.json
  const char* torch_class;  ///< last part of the name of torch's class, without arguments; null where there is none
  const char* described;
  torch::Tensor (*apply)(const torch::Tensor&);
};

/// By transformers' name; another is refused with `key`.
const ActivationFunction& activation(const char* who, const char* key, std::string_view name);

/// By the name of torch's class, "torch.nn.modules.activation.Tanh", as sentence-transformers writes it.
const ActivationFunction& torch_activation(const char* who, const char* key, std::string_view class_name);

}  // namespace trine::detail
