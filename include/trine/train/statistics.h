#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <utility>

#include "trine/export.h"

/// What stands beside a measured share.

namespace trine::train {

/// Wilson's 95 % interval of a share of `count` independent cases, which need not be whole.
TRINE_API std::pair<double, double> wilson_interval(double share, double count);

/// The mean of F1 over the labels that occur in `wanted`. found and wanted (N) int64 from 0 to below `labels`
TRINE_API double macro_f1(const torch::Tensor& found, const torch::Tensor& wanted, std::int64_t labels);

}  // namespace trine::train
