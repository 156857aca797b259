#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <vector>

#include "trine/apps/product_search.h"
#include "trine/embedder.h"
#include "trine/export.h"

/// How sure a search is, as fitted on validation data; `models/default/train/calibrate.cpp` fits it with the same
/// functions.

namespace trine::detail {

/// Of one modality of a query: what tells whether the catalogue has what it shows.
struct Nearness {
  double similarity = 0;  ///< to the nearest product
  double odds = 0;        ///< log odds of the largest support
};

/// The log odds that the catalogue has it: offset + similarity * nearness.similarity + odds * nearness.odds.
struct Known {
  double offset = 0;
  double similarity = 0;
  double odds = 0;
  double nothing_below = 0;  ///< log odds below which it is said to lack it
};

/// The log odds that the first hit is right: offset + odds * (those of its chance) + known * (the largest of Known).
struct Confidence {
  double offset = 0;
  double odds = 1;
  double known = 0;
};

/// What config.json holds under "calibration" beside trine::Calibration; empty where a model was not calibrated.
struct SearchCalibration {
  std::map<Modality, float> spread = {};  ///< of the catalogue that the model was calibrated with
  std::map<Modality, Known> known = {};
  Confidence confidence = {};
  Mixing mixing = Mixing::late;
};

/// Errors: std::runtime_error for a key with an unexpected value.
SearchCalibration search_calibration(const Embedder& model);

/// Between -13.8 and 13.8, a chance of one in a million.
TRINE_API double log_odds(double chance);
/// similarities and supports of the products (P)
TRINE_API Nearness nearness_of(const torch::Tensor& similarities, const torch::Tensor& supports);
TRINE_API double known_odds(const Known& known, const Nearness& nearness);
/// Log odds of a product if the modalities err independently of each other. supports (P) by modality
TRINE_API double chance_odds(const std::vector<torch::Tensor>& supports, std::int64_t product);

}  // namespace trine::detail
