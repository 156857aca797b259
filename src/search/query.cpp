#include "trine/search/query.h"

#include "detail/error.h"
#include "trine/layers.h"

namespace trine {

using torch::Tensor;

float QueryWeights::operator[](Modality modality) const {
  switch (modality) {
    case Modality::image:
      return image;
    case Modality::text:
      return text;
    case Modality::audio:
      return audio;
  }
  return 0.0f;
}

Tensor combine_query(const std::map<Modality, Tensor>& vectors, const QueryWeights& weights) {
  constexpr const char* who = "combine_query";
  if (vectors.empty()) detail::bad_argument(who, "at least one modality is wanted, there is none");
  Tensor mixed;
  for (const auto& [modality, vector] : vectors) {
    if (mixed.defined() && mixed.sizes() != vector.sizes()) {
      detail::bad_argument(who, "the vector of the ", to_string(modality), " has shape ", vector.sizes(), ", another ",
                           mixed.sizes());
    }
    const Tensor weighted = vector * weights[modality];
    mixed = mixed.defined() ? mixed + weighted : weighted;
  }
  if ((mixed.norm(2, -1) < 1e-6).any().item<bool>()) detail::bad_argument(who, "the weighted vectors cancel out");
  return normalise(mixed);
}

}  // namespace trine
