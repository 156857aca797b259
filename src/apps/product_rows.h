#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "apps/product_index.h"

namespace trine::detail {

/// The vectors of all products as rows of a matrix, those of one product beside each other.
class ProductRows {
 public:
  /// The vectors of the index become views of the rows.
  void arrange(ProductIndex& index, std::int64_t dim);

  std::int64_t size() const { return matrix_.size(0); }

  /// Cosine to every row, less what a description or keyword has to be nearer. (D) -> (V)
  torch::Tensor similarities(const torch::Tensor& query) const { return matrix_.matmul(query) - margin_; }
  /// To each product's nearest row. (V) -> (P)
  torch::Tensor best(const torch::Tensor& similarities) const;
  /// What of a product the nearest row shows.
  std::string nearest(const torch::Tensor& similarities, std::int64_t product) const;

  /// See ProductSearch::spread; 0 where there is no other product.
  float spread(Modality modality) const;

 private:
  std::vector<std::int64_t> stand_ins(Modality modality) const;

  std::int64_t products_ = 0;
  torch::Tensor matrix_;            ///< (V, D)
  std::vector<std::string> shows_;  ///< (V) what of the product it is
  torch::Tensor margin_;            ///< (V) taken off the cosine
  torch::Tensor owner_;             ///< (V) int64, the product's number
};

}  // namespace trine::detail
