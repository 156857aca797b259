#pragma once

#include "detail/json.h"
#include "trine/encoders/vit_pe.h"

namespace trine::detail {

/// `VitPeConfig::load` of a config that lies within another one.
VitPeConfig read_vit_pe(const Json& json);

}  // namespace trine::detail
