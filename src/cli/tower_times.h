#pragma once

#include <map>
#include <vector>

#include "trine/embedder.h"
#include "trine/train/dataset.h"

namespace trine::cli {

/// Milliseconds of each modality's tower for one input by itself, file included: the median over inputs from all over
/// the samples.
std::map<Modality, double> tower_times(const Embedder& model, const std::vector<train::Sample>& samples);

}  // namespace trine::cli
