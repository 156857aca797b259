#include "encoders/activation.h"

#include <array>
#include <string>

#include "detail/error.h"

namespace trine::detail {

namespace {

struct ActivationName {
  const char* name;         ///< in transformers' config.json
  const char* torch_class;  ///< last part of the name of torch's class, without arguments; null where there is none
  Activation activation;
  bool in_image_towers;
};

constexpr std::array<ActivationName, 12> kActivations{{
    {"gelu", "GELU", Activation::gelu, true},
    {"gelu_python", nullptr, Activation::gelu, false},
    {"gelu_new", nullptr, Activation::gelu_tanh, true},
    {"gelu_fast", nullptr, Activation::gelu_tanh, false},
    {"gelu_pytorch_tanh", nullptr, Activation::gelu_tanh, true},
    {"quick_gelu", nullptr, Activation::quick_gelu, true},
    {"relu", "ReLU", Activation::relu, true},
    {"silu", "SiLU", Activation::silu, true},
    {"swish", nullptr, Activation::silu, true},
    {"tanh", "Tanh", Activation::tanh, true},
    {"sigmoid", "Sigmoid", Activation::sigmoid, false},
    {"linear", "Identity", Activation::identity, false},
}};

/// `name_of(row)` is what the file may call it, null where it may not.
template <typename NameOf>
Activation find(const char* who, const char* key, std::string_view written, std::string_view wanted,
                const NameOf& name_of) {
  std::string known;
  for (const ActivationName& row : kActivations) {
    const char* name = name_of(row);
    if (name == nullptr) continue;
    if (wanted == name) return row.activation;
    known += std::string(known.empty() ? "" : ", ") + name;
  }
  failure(who, "\"", key, "\" is ", shown(written), ", known are ", known);
}

}  // namespace

Activation activation(const char* who, const char* key, std::string_view name) {
  return find(who, key, name, name, [](const ActivationName& row) { return row.name; });
}

Activation torch_activation(const char* who, const char* key, std::string_view class_name) {
  // sentence-transformers takes a class of another package only from those it trusts
  const std::string_view last =
      class_name.starts_with("torch.") ? class_name.substr(class_name.rfind('.') + 1) : std::string_view();
  return find(who, key, class_name, last, [](const ActivationName& row) { return row.torch_class; });
}

Activation read_activation(const char* who, const Json& json, const char* key, Activation fallback) {
  const auto name = get_or<std::string>(who, json, key, "");
  if (name.empty()) return fallback;
  return find(who, key, name, name, [](const ActivationName& row) { return row.in_image_towers ? row.name : nullptr; });
}

}  // namespace trine::detail
