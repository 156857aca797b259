#pragma once

#include <torch/torch.h>

#include <sstream>
#include <string>
#include <string_view>

#include "detail/error.h"

/// What learned modules check of the tensors they are given.

namespace trine::detail {

/// For an error message: "Float [4, 7, 16]".
inline std::string shown(const torch::Tensor& x) {
  if (!x.defined()) return "no tensor";
  std::ostringstream out;
  out << x.scalar_type() << ' ' << x.sizes();
  return out.str();
}

/// Whether `x` is a tensor of floats whose dimensions are these; -1 is any size.
inline bool is_floats(const torch::Tensor& x, torch::IntArrayRef sizes) {
  if (!x.defined() || !x.is_floating_point() || x.dim() != std::ssize(sizes)) return false;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != -1 && x.sizes()[i] != sizes[i]) return false;
  }
  return true;
}

/// The mask itself, or one that is all true where there is none. `what` names it: "the mask of 'text'".
inline torch::Tensor mask_or_ones(const char* who, std::string_view what, const torch::Tensor& mask,
                                  torch::IntArrayRef sizes, const torch::Tensor& like) {
  if (!mask.defined()) return torch::ones(sizes, like.options().dtype(torch::kBool).requires_grad(false));
  if (mask.scalar_type() != torch::kBool || mask.sizes() != sizes) {
    bad_argument(who, what, " must be Bool ", sizes, ", true for what is there; got ", shown(mask));
  }
  return mask;
}

}  // namespace trine::detail
