#pragma once

#include <string>
#include <vector>

#include "apps/clip_features.h"
#include "detail/json.h"
#include "trine/apps/score.h"
#include "trine/embedder.h"

namespace trine::detail {

/// Labels of clips: a linear head on the features of one block.
class ClipHead {
 public:
  /// `entry` of config.json: weights (a file with "weight" and "bias"), labels, block, trained_on.
  ClipHead(const char* who, const Embedder& embedder, const Json& entry);

  std::vector<Score> predict(const AudioInput& audio) const;  ///< likeliest first, they sum to 1
  Description describe() const;

 private:
  ClipFeatures features_;
  std::vector<std::string> labels_;
  std::int64_t block_ = 0;
  std::string trained_on_;
  Linear out_{nullptr};
};

}  // namespace trine::detail
