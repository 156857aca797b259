#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trine/apps/product_search.h"
#include "trine/search/index.h"

/// From products to vectors and to the file of an index.

namespace trine::detail {

/// What the index holds of a product.
struct ProductVectors {
  std::string content;                                ///< hash of all that decides the vectors; empty: not known
  std::map<std::string, torch::Tensor> vectors = {};  ///< (D) by what they show: "title", "picture 1" ...
  std::vector<SkippedMedia> skipped = {};
};

struct ProductIndex {
  std::vector<Product> products = {};
  std::vector<ProductVectors> vectors = {};  ///< of each
  std::string fingerprint = {};              ///< of the model, see Embedder::fingerprint; empty: not known
  std::map<Modality, float> spread = {};     ///< see ProductSearch::spread; empty: not known
  bool draft = false;                        ///< see IndexOptions
  std::shared_ptr<Index> graph = nullptr;    ///< the same vectors, linked; null: there is no graph

  void add(Product product, ProductVectors of_it) {
    products.push_back(std::move(product));
    vectors.push_back(std::move(of_it));
  }
};

/// The products with their vectors, of which those in `known` (by id) are taken from there where the content is the
/// same. A product without any vector is left out. Fills `embedded` and `skipped` of the report.
ProductIndex embed_products(const char* who, const Embedder& model, const std::vector<Product>& products,
                            const std::map<std::string, const ProductVectors*>& known, const std::string& fingerprint,
                            IndexReport& report, const IndexOptions& options);

/// Changes an index to the vectors of the content, by as few additions, updates and removals as it takes: its graph
/// stays.
void follow(Index& index, const ProductIndex& content);
/// Id of the product that a vector of the index is of.
std::string product_of_row(std::string_view id);

/// One file, written beside, synced and renamed; see docs/formats.md.
void write_product_index(const std::filesystem::path& path, const Embedder& model, const ProductIndex& content);
/// Errors: std::runtime_error for a file that is damaged, no index of products, or of another model.
ProductIndex read_product_index(const char* who, const std::filesystem::path& path, const Embedder& model);

}  // namespace trine::detail
