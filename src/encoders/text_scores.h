#pragma once

#include "trine/encoders/encoder.h"

namespace trine::detail {

/// What a tower of pictures or clips also is where the length of its features counts in the scores of texts, as PE's
/// does. `Embedder`'s vectors have lost it.
class TextScores {
 public:
  virtual ~TextScores() = default;
  virtual const TextEncoder& texts() const = 0;    ///< as this tower's features meet them
  virtual Similarity text_similarity() const = 0;  ///< of products of features in place of cosines
};

}  // namespace trine::detail
