#pragma once

#include <string>
#include <vector>

#include "trine/train/dataset.h"

namespace trine::cli {

/// The vectors of samples, with a progress bar; what could not be read is said on stderr and added to `skipped`.
train::Dataset load_features(train::FeatureStore& store, const std::vector<train::Sample>& samples,
                             const std::string& title, std::vector<train::SkippedInput>* skipped = nullptr);

void say_skipped(const std::vector<train::SkippedInput>& skipped);

}  // namespace trine::cli
