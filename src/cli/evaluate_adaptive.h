#pragma once

#include <string>

#include "command.h"

namespace trine::cli {

/// `trine evaluate MANIFEST --adaptive SAMPLE`
struct AdaptiveEvaluation {
  std::string manifest;
  std::string sample;  ///< labelled queries that the thresholds are fitted on
  std::string index;
  std::string fusion;
  std::string features;  ///< folder of the feature store; empty: the default one
  std::string out;       ///< folder for what was fitted, the table and the plot; empty: none
  double wanted = 0.99;
};

/// Quality against cost of adaptive inference, fitted on one manifest and measured on another.
void evaluate_adaptive(const CommonOptions& common, const AdaptiveEvaluation& options);

}  // namespace trine::cli
