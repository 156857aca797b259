#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trine/apps/product_search.h"
#include "trine/embedder.h"
#include "trine/export.h"
#include "trine/fusion.h"
#include "trine/search/query.h"

/// Search that computes of a query only what its answer needs.

namespace trine {

/// simple: one modality, by its tower alone; moderate: several that agree, the weighted mean of their vectors; complex:
/// several that disagree, their calibrated chances multiplied (or a learned fusion) and more candidates ranked again.
enum class Route { simple, moderate, complex };

TRINE_API std::string_view to_string(Route route);

using Modalities = std::set<Modality>;

/// How the similarities of one modality to all P products become chances:
/// (1 - doubt) * softmax(similarity / temperature) + doubt / P.
struct Chances {
  double temperature = 0.05;
  double doubt = 0.02;  ///< how often it says nothing of the product: what bounds its veto against the others
};

/// sigmoid(offset + slope * log odds): puts a chance right that is too sure or not sure enough.
struct Correction {
  double offset = 0;
  double slope = 1;
};

/// What routes are chosen by. `AdaptiveInference::fit` fits all of it on a sample.
struct AdaptivePolicy {
  /// A first hit this likely to be right is the answer, and no further tower is computed. 0: always; 1: never.
  double confidence = 0.95;
  /// Modalities this likely to mean one product agree. 0: always; 1: never.
  double agreement = 0.5;

  /// In which towers are computed; those that are not named come after, the cheapest first. Empty: the cheapest first.
  std::vector<Modality> order{};
  std::map<Modality, double> towers{{Modality::image, 40}, {Modality::text, 4}, {Modality::audio, 60}};  ///< ms
  std::map<Route, double> searches{};              ///< ms of what follows the towers
  std::map<Modality, Chances> chances{};           ///< without one: the temperature of the embedder's calibration
  std::map<Modalities, Correction> confidences{};  ///< of the first hit, by what was computed
  std::map<Modalities, Correction> agreements{};   ///< by pair
  Chances fusion{};                                ///< of the learned fusion's vector
  double fusion_share = 1;  ///< what the learned fusion counts in the complex route, the modalities' product the rest
};

struct AdaptiveOptions {
  std::int64_t k = 10;                 ///< hits wanted
  std::int64_t candidates = 20;        ///< that are ranked again by agreement
  std::int64_t wide_candidates = 100;  ///< the same in the complex route
};

struct AdaptiveAnswer {
  std::vector<Hit> hits = {};  ///< in the complex route `similarity` is the chance of the product
  Route route = Route::simple;
  double confidence = 0;                 ///< the chance that the first hit is right
  std::optional<double> agreement = {};  ///< the chance that the modalities mean one product; none with a single one
  std::vector<Modality> computed = {};   ///< in this order
  std::vector<Modality> skipped = {};    ///< of the query, never computed
  std::vector<std::pair<std::string, double>> milliseconds = {};  ///< by stage: each tower, then "search"
};

/// A query whose product is known.
struct LabelledQuery {
  std::string id;  ///< of the product
  std::map<Modality, torch::Tensor> vectors;
  std::map<Modality, double> milliseconds = {};  ///< of each tower, if it was measured
  std::string set = {};                          ///< the part of the sample that it belongs to: a noise, a speaker
};

struct AdaptiveFitOptions {
  double wanted = 0.99;     ///< of the right answers that the complex route alone would give, in each set
  double assurance = 0.95;  ///< how sure the sample must make of it, in [0.5, 1)
  std::uint64_t seed = 1;   ///< of the mismatched pairs
  AdaptiveOptions search = {};
};

/// What a choice of the two thresholds costs and brings on a sample.
struct OperatingPoint {
  double confidence = 0;
  double agreement = 0;
  std::int64_t right = 0;   ///< first hits
  double quality = 0;       ///< their share
  double milliseconds = 0;  ///< mean of a query: its towers and its search, at the policy's costs
  double towers = 0;        ///< share of the queries' modalities that were computed
  double simple = 0;        ///< shares of the routes
  double moderate = 0;
  double complex = 0;
};

struct AdaptiveCurve {
  std::vector<OperatingPoint> points;  ///< the best for their cost, cheapest first: each better than the one before
  OperatingPoint always_simple;        ///< both thresholds 0: the first tower alone
  OperatingPoint always_complex;       ///< both thresholds 1
  OperatingPoint chosen;               ///< the policy's
  std::int64_t count = 0;              ///< queries
};

/// The vector of a modality, computed when it is asked for.
using Towers = std::map<Modality, std::function<torch::Tensor()>>;

/// Answers a query with the towers it needs, one after the other: the first hit of what is computed is the answer as
/// soon as it is likely enough to be right; modalities that agree are averaged, others go through the complex route.
///
///     auto search = std::make_shared<trine::ProductSearch>();
///     trine::AdaptiveInference adaptive(search);
///     adaptive.fit(adaptive.embed(sample), {.wanted = 0.99});
///     trine::AdaptiveAnswer answer = adaptive.search({.image = "photo.jpg", .text = "a ripe one"});
///
/// The same query gives the same answer; times are measured and differ. Calls from several threads are safe.
/// The modalities count as by default: weights of one's own, or below 0, are a matter for ProductSearch.
/// `docs/choosing.md` shows what it saves.
class TRINE_API AdaptiveInference {
 public:
  /// `fusion`: of the modalities "image", "text", "audio" (or some of them) and the embedder's dimension, trained so
  /// that its vector is near that of the product. Errors: std::invalid_argument for another one.
  explicit AdaptiveInference(std::shared_ptr<const ProductSearch> search, AdaptivePolicy policy = {},
                             Fusion fusion = nullptr);
  /// Reads what `save` wrote: config.json, and the fusion in its folder `fusion`. Errors: std::runtime_error for files
  /// that are damaged or of another model.
  static AdaptiveInference load(std::shared_ptr<const ProductSearch> search, const std::filesystem::path& directory);
  ~AdaptiveInference();
  AdaptiveInference(AdaptiveInference&&) noexcept;
  AdaptiveInference& operator=(AdaptiveInference&&) noexcept;
  void save(const std::filesystem::path& directory) const;

  /// Errors: std::invalid_argument for a query without any modality, or with a vector that is not finite.
  AdaptiveAnswer search(const Inputs& query, const AdaptiveOptions& options = {}) const;
  AdaptiveAnswer search(const Towers& query, const AdaptiveOptions& options = {}) const;

  /// Embeds queries one by one and measures what each tower takes.
  LabelledQuery embed(const std::string& id, const Inputs& query) const;
  std::vector<LabelledQuery> embed(const std::vector<std::pair<std::string, Inputs>>& queries) const;

  /// Fits the policy: chances and their corrections, costs, then the order of the towers and the thresholds that are
  /// cheapest and keep `wanted` of the complex route's right answers with the assurance asked for, in each set of the
  /// sample; if one is too small to show any (some 300 queries show 0.99), both become 1. Queries are judged by what is
  /// fitted without those for their product. Gives the curve of the sample. Agreement is fitted on the sample's pairs
  /// and on as many of two different products. Errors: std::invalid_argument for a sample that is empty, of one
  /// product, or with an unknown one, and for vectors that are not finite.
  AdaptiveCurve fit(const std::vector<LabelledQuery>& sample, const AdaptiveFitOptions& options = {});

  /// What thresholds bring on a sample: a grid of both, and the policy's.
  AdaptiveCurve curve(const std::vector<LabelledQuery>& sample, const AdaptiveOptions& options = {}) const;
  /// The same of given thresholds (confidence, agreement).
  std::vector<OperatingPoint> measure(const std::vector<LabelledQuery>& sample,
                                      const std::vector<std::pair<double, double>>& thresholds,
                                      const AdaptiveOptions& options = {}) const;

  const AdaptivePolicy& policy() const;
  const ProductSearch& products() const;
  const Fusion& fusion() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trine
