#pragma once

#include <map>
#include <vector>

#include "trine/embedder.h"
#include "trine/train/dataset.h"

namespace trine::cli {

/// Milliseconds of processor time of each modality's tower for one input by itself, file included: the median over
/// inputs from all over the samples. With one thread on a machine that does nothing else this is what one waits for;
/// unlike that it does not count what else the machine does.
std::map<Modality, double> tower_times(const Embedder& model, const std::vector<train::Sample>& samples);

}  // namespace trine::cli
