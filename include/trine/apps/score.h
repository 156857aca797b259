#pragma once

#include <string>

namespace trine {

/// A label and how likely it is, in [0, 1].
struct Score {
  std::string label;
  float probability = 0;
};

}  // namespace trine
