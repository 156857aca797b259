#include "trine/train/loss.h"

#include "detail/error.h"
#include "trine/layers.h"

namespace trine::train {

using torch::Tensor;

Tensor anchor_loss(const Tensor& vectors, const Tensor& anchors, const Tensor& targets,
                   const AnchorLossOptions& options) {
  if (vectors.dim() != 2 || anchors.dim() != 2 || vectors.size(1) != anchors.size(1) ||
      targets.sizes() != torch::IntArrayRef{vectors.size(0), anchors.size(0)}) {
    detail::bad_argument("anchor_loss", "wanted vectors (N, D), anchors (K, D) and targets (N, K), got ",
                         vectors.sizes(), ", ", anchors.sizes(), " and ", targets.sizes());
  }
  const Tensor cosine = normalise(vectors).matmul(anchors.t());
  const double spread = options.label_smoothing / static_cast<double>(anchors.size(0));
  const Tensor smoothed = targets * (1.0 - options.label_smoothing) + spread;
  const Tensor cross_entropy = -(smoothed * (cosine / options.temperature).log_softmax(1)).sum(1).mean();
  return cross_entropy + options.cosine_weight * (1.0 - (targets * cosine).sum(1)).mean();
}

}  // namespace trine::train
