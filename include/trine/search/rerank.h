#pragma once

#include <map>

#include "trine/export.h"
#include "trine/search/query.h"

namespace trine {

/// What a candidate's score is made of.
struct RerankScore {
  float score = 0;
  float consistency = 0;   ///< geometric mean of the supports
  float disagreement = 0;  ///< largest support minus smallest
};

/// similarity * (1 + consistency) * (1 - disagreement / 2), the similarity clipped at 0 from below; just the similarity
/// with fewer than two modalities. `support`: each modality's calibrated support for the candidate, in [0, 1].
TRINE_API RerankScore rerank_score(float similarity, const std::map<Modality, float>& support);

}  // namespace trine
