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

  /// Of some products alone, by their numbers, ascending.
  ProductRows of(const std::vector<std::int64_t>& products) const;

  std::int64_t size() const { return matrix_.size(0); }
  /// Their numbers in the index; `of` leaves some out.
  const std::vector<std::int64_t>& products() const { return products_; }

  /// Cosine to every row, less what a description or keyword has to be nearer. (D) -> (V)
  torch::Tensor similarities(const torch::Tensor& query) const { return matrix_.matmul(query) - margin_; }
  /// To each product's nearest row. (V) -> (P), in the order of `products`
  torch::Tensor best(const torch::Tensor& similarities) const;
  /// What of the product at a place in `products` the nearest row shows.
  std::string nearest(const torch::Tensor& similarities, std::int64_t place) const;

  /// See ProductSearch::spread; 0 where there is no other product.
  float spread(Modality modality) const;

 private:
  std::vector<std::int64_t> stand_ins(Modality modality) const;

  std::vector<std::int64_t> products_;  ///< (P)
  torch::Tensor matrix_;                ///< (V, D)
  std::vector<std::string> shows_;      ///< (V) what of the product it is
  torch::Tensor margin_;                ///< (V) taken off the cosine
  torch::Tensor owner_;                 ///< (V) int64, the product's place in products_, ascending
};

}  // namespace trine::detail
