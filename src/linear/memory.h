#pragma once

#include <torch/torch.h>

#include <cstdint>

/// Memory that packed layers ask for: large pages for weights, and results of layers in memory that is used again.

namespace trine::detail {

/// A copy of `tensor` in large pages where the system has them. Weights that are not in a cache are read a third faster
/// from there, because the CPU fetches ahead within a page.
torch::Tensor in_large_pages(const torch::Tensor& tensor);

/// A tensor of any values. What is freed is kept, up to 128 MiB in a process, and given out again: fresh memory
/// of this size would come from the system, which clears it page by page.
torch::Tensor reused(at::IntArrayRef shape, torch::ScalarType type = torch::kFloat32);

}  // namespace trine::detail
