#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trine/embedder.h"
#include "trine/export.h"

namespace trine {

/// A product of a catalogue: one line of JSON with the same names. `attributes` keep their JSON text
/// ("price": 2.49 -> "2.49").
struct Product {
  std::string id;
  std::string title;
  std::string description = {};
  std::vector<std::pair<std::string, std::string>> attributes = {};  ///< in the order of the file
  std::vector<std::string> keywords = {};                            ///< other names and phrases it is asked for by
  std::vector<std::filesystem::path> images = {};                    ///< pictures of it
};

/// Reads a catalogue: JSON lines with id and title, and if wanted description, attributes, keywords, images (paths
/// relative to the file). Errors: std::runtime_error naming the line and the key.
TRINE_API std::vector<Product> read_catalogue(const std::filesystem::path& path);

/// The vector of a title: the mean over sentences in which one asks for it. -> (D), of unit length
TRINE_API torch::Tensor title_vector(const Embedder& embedder, const std::string& title);

/// What one modality of the query says of a hit.
struct Reason {
  Modality modality = Modality::image;
  float similarity = 0;  ///< cosine to the product's nearest vector, 0.05 less for a description or keyword
  float support = 0;     ///< calibrated: the chance that this modality alone would give the product, in [0, 1]
  std::string nearest =
      {};  ///< what of the product was nearest: "title", "description", "keyword: green apple", "picture"
};

struct TRINE_API Hit {
  std::string id;
  std::string title;
  float score = 0;
  float similarity = 0;  ///< cosine of the combined query
  float consistency = 0;
  float disagreement = 0;
  std::vector<Reason> reasons = {};  ///< one per modality of the query
  Product product = {};

  /// One English sentence: "The photo fits very well (0.93), the spoken words less (0.12)."
  std::string sentence() const;
};

struct SearchOptions {
  std::int64_t k = 10;           ///< hits wanted
  std::int64_t candidates = 20;  ///< that are ranked again by agreement; at least k
  QueryWeights weights = {};
  bool rerank = true;
};

struct IndexReport {
  std::int64_t products = 0;
  std::int64_t vectors = 0;
  std::vector<std::pair<std::filesystem::path, std::string>> skipped =
      {};  ///< pictures that could not be read, and why
};

/// A photo, words, a spoken question, in any combination, to ranked products with a reason for each.
///
///     trine::ProductSearch search;                                              // the default model and catalogue
///     for (const trine::Hit& hit : search.search({.image = "photo.jpg", .text = "a ripe one"}))
///       std::cout << hit.title << ": " << hit.sentence() << "\n";
class TRINE_API ProductSearch {
 public:
  ProductSearch();
  explicit ProductSearch(Embedder embedder);  ///< the default catalogue
  /// An index written by `save` or `trine index`. Errors: std::runtime_error for a damaged file, or one whose vectors
  /// were made by another model (dimension or name).
  ProductSearch(Embedder embedder, const std::filesystem::path& index);
  ~ProductSearch();
  ProductSearch(ProductSearch&&) noexcept;
  ProductSearch& operator=(ProductSearch&&) noexcept;

  /// Embeds a catalogue: title (in several phrasings), description, keywords and pictures (more than five become their
  /// mean), several vectors per product.
  /// Pictures that cannot be read are skipped and reported. `progress(done, total)` is called after each product.
  static ProductSearch build(Embedder embedder, const std::vector<Product>& catalogue, IndexReport* report = nullptr,
                             const std::function<void(std::int64_t, std::int64_t)>& progress = {});
  void save(const std::filesystem::path& index) const;

  /// Best first. Errors: std::invalid_argument for a query without any modality or k below 1.
  std::vector<Hit> search(const Inputs& query, const SearchOptions& options = {}) const;
  /// The same from the vectors of Embedder::embed_each.
  std::vector<Hit> search(const std::map<Modality, torch::Tensor>& query, const SearchOptions& options = {}) const;

  /// Cosine of a query's vector to each product's nearest vector, 0.05 less for a description or keyword.
  /// (D) -> (P), in the order of `products()`
  torch::Tensor similarities(const torch::Tensor& vector) const;
  /// The hits of a query whose products have these scores (P), as `search` makes them of the weighted mean's cosine.
  std::vector<Hit> rank(const std::map<Modality, torch::Tensor>& query, const torch::Tensor& scores,
                        const SearchOptions& options = {}) const;

  const Embedder& embedder() const;
  std::int64_t size() const;  ///< products
  const std::vector<Product>& products() const;
  const Product& product(const std::string& id) const;

 private:
  struct Impl;
  explicit ProductSearch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trine
