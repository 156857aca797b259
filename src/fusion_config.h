#pragma once

#include <memory>

#include "detail/json.h"
#include "trine/fusion.h"

/// A fusion's part of a config.json, for modules that hold one.

namespace trine::detail {

Json fusion_config(const FusionImpl& fusion);

/// With random weights. Errors: std::runtime_error for what is missing or too large, std::invalid_argument for what the
/// fusion itself refuses.
std::shared_ptr<FusionImpl> fusion_from(const Json& config);

}  // namespace trine::detail
