#pragma once

#include <string>
#include <vector>

#include "command.h"

namespace trine::cli {

/// `trine evaluate MANIFEST --trained DIR`
struct TrainedOptions {
  std::string manifest;
  std::string trained;
  std::string split = "test";
  std::vector<std::string> without;  ///< modalities to leave out
  std::string features;              ///< folder of the feature store; empty: the default one
};

/// Measures what `trine train` made, for every subset of the modalities.
void evaluate_trained(const CommonOptions& common, const TrainedOptions& options);

}  // namespace trine::cli
