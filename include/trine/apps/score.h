#pragma once

#include <string>

namespace trine {

/// A label and how probable it is, in 0 to 1.
struct Score {
  std::string label;
  float probability;
};

}  // namespace trine
