#pragma once

#include <torch/torch.h>

namespace trine::detail {

/// Gives a tensor of a module other values, which may lie on another device. It stays the same object, so that whoever
/// holds it sees them.
inline void set_values(torch::Tensor& tensor, const torch::Tensor& values) {
  if (values.is_meta()) {  // set_data leads from a device to another, not to the one without values
    tensor.unsafeGetTensorImpl()->shallow_copy_from(values.getIntrusivePtr());
  } else {
    tensor.set_data(values);
  }
}

}  // namespace trine::detail
