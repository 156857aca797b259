#pragma once

#include <torch/torch.h>

#include <array>
#include <map>
#include <string_view>

#include "trine/export.h"

namespace trine {

enum class Modality { image, text, audio };

inline constexpr std::array<Modality, 3> kModalities{Modality::image, Modality::text, Modality::audio};

TRINE_API std::string_view to_string(Modality modality);
/// "image", "text" or "audio"; another name is std::invalid_argument.
TRINE_API Modality modality(std::string_view name);

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
