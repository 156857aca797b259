#pragma once

#include <torch/torch.h>

#include <map>

#include "trine/export.h"
#include "trine/input/modality.h"

namespace trine {

/// How much each modality counts in a query. Negative: away from it.
struct TRINE_API QueryWeights {
  float image = 1.0f;
  float text = 1.0f;
  float audio = 0.5f;

  float operator[](Modality modality) const;
};

/// What makes the scores of different modalities comparable, fitted on validation data.
struct Calibration {
  float temperature = 0.05f;  ///< softmax(similarity / temperature) over the candidates is the chance of being right
  float gain = 1.0f;          ///< factor on the modality's weight
  float softness = 1.0f;      ///< factor on the temperature of the supports that re-ranking compares
};

/// The weighted mean of unit vectors, of unit length again. {m: (D)} or {m: (B, D)} -> (D) or (B, D)
/// Errors: std::invalid_argument for no vectors, shapes that differ, or a sum that vanishes.
/// Reference: combine_query in PyTorch, see tests/golden.
TRINE_API torch::Tensor combine_query(const std::map<Modality, torch::Tensor>& vectors,
                                      const QueryWeights& weights = {});

}  // namespace trine
