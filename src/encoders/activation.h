#pragma once

#include <string_view>

#include "detail/json.h"
#include "trine/encoders/transformer.h"

/// Activations by the names that checkpoints write. Another name is refused with `key`.

namespace trine::detail {

/// By transformers' name.
Activation activation(const char* who, const char* key, std::string_view name);

/// By the name of torch's class, "torch.nn.modules.activation.Tanh", as sentence-transformers writes it.
Activation torch_activation(const char* who, const char* key, std::string_view class_name);

/// The value at `key` of a family with image towers, which know fewer of transformers' names.
Activation read_activation(const char* who, const Json& json, const char* key, Activation fallback);

}  // namespace trine::detail
