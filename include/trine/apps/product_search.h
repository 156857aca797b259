#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trine/apps/catalogue.h"
#include "trine/embedder.h"
#include "trine/export.h"
#include "trine/search/filter.h"
#include "trine/search/index.h"

namespace trine {

/// The vector of a title: the mean over sentences in which one asks for it. -> (D), of unit length
TRINE_API torch::Tensor title_vector(const Embedder& embedder, const std::string& title);

/// Several inputs of a modality; it counts as the mean of their unit vectors.
struct Query {
  std::vector<ImageInput> images = {};
  std::vector<std::string> texts = {};
  std::vector<AudioInput> audio = {};
};

/// What `ProductSearch::embed` makes of a query.
struct EmbeddedQuery {
  std::map<Modality, torch::Tensor> vectors = {};  ///< (D) each, of unit length
  std::vector<Coverage> coverage = {};  ///< of pictures, texts and clips, in their order; not of clips that were heard
  std::vector<std::string> heard = {};  ///< what was said in each clip, where it was transcribed
};

/// What a modality of the query says of a hit: for it, against it because it is sure of another product, or neither.
enum class Verdict { supports, neutral, contradicts };

TRINE_API std::string_view to_string(Verdict verdict);

/// What one modality of the query says of a hit.
struct Reason {
  Modality modality = Modality::image;
  float similarity = 0;  ///< cosine to the product's nearest vector, 0.05 less for a description or keyword
  float support = 0;     ///< calibrated: the chance that this modality alone would give the product, in [0, 1]
  Verdict verdict = Verdict::neutral;
  std::string nearest = {};  ///< of the product: "title", "description", "keyword: green apple", "picture 1", "clip 2"
};

struct TRINE_API Hit {
  std::string id;
  std::string title;
  float score = 0;
  float similarity = 0;  ///< of the combined query
  float consistency = 0;
  float disagreement = 0;
  float avoided = 0;  ///< nearness to SearchOptions::without: 1 for the nearest product of all, 0 for the usual one
  std::vector<Reason> reasons = {};  ///< one per modality of the query
  Product product = {};

  /// One English sentence: "The photo points to it (0.93) and the spoken words point elsewhere (0.01)."
  std::string sentence() const;
};

/// How the modalities of a query meet: early, their vectors before the search, or late, their scores after it; fitted:
/// as the model's calibration found better, late without one.
enum class Mixing { fitted, early, late };

struct SearchOptions {
  std::int64_t k = 10;           ///< hits wanted
  std::int64_t candidates = 20;  ///< that are ranked again by agreement; at least k
  QueryWeights weights = {};
  bool rerank = true;
  Filter filter = {};                     ///< only products whose attributes, id, title and description match
  std::vector<std::string> without = {};  ///< texts of what hits shall not be
  Mixing mixing = Mixing::fitted;
  bool calibrate = true;  ///< false: the weights hold for plain cosines, however far they spread in a modality
  bool hearing = true;    ///< clips also by their transcript, where the model can, see Hearing; false: faster
  std::int64_t ef = 0;    ///< breadth of a walk over the graph, where there is one; 0: 200, at least `candidates`
  bool exact = false;     ///< all products are looked at, also where there is a graph
};

/// Hits, best first.
struct SearchResult {
  std::vector<Hit> hits = {};
  double confidence = 0;         ///< the chance that the first hit is the right product
  bool nothing_matches = false;  ///< the catalogue seems to lack what was asked for; the hits are the nearest it has
  std::vector<std::string> heard = {};  ///< what was said in each clip, where it was transcribed

  auto begin() const { return hits.begin(); }
  auto end() const { return hits.end(); }
  std::size_t size() const { return hits.size(); }
  bool empty() const { return hits.empty(); }
  const Hit& operator[](std::size_t i) const { return hits[i]; }
};

/// A picture or clip of a product that could not be read, or a product without anything to find it by (then `file` is
/// empty).
struct SkippedMedia {
  std::string product;  ///< id
  std::filesystem::path file;
  std::string why;
};

struct IndexReport {
  std::int64_t products = 0;  ///< in the index now
  std::int64_t vectors = 0;
  std::int64_t embedded = 0;               ///< new and changed products; the vectors of others were there
  std::vector<SkippedMedia> skipped = {};  ///< of the given products
};

struct IndexOptions {
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< called after each product
  /// A file that what is done goes into from time to time. Work that was killed goes on from there when it is begun
  /// again, to the same bytes; the file may be deleted when the index is saved.
  std::filesystem::path partial = {};
  bool draft = false;  ///< as of EmbedOptions; the index remembers it, `update` embeds as it was made
};

/// What an index file holds; of one without a catalogue `products` is -1 and what follows is empty.
struct IndexSummary {
  std::int64_t records = 0;  ///< vectors
  std::int64_t dim = 0;
  IndexForm form = {};
  std::optional<GraphOptions> graph = {};
  std::uint64_t bytes = 0;                             ///< of the file
  std::map<std::string, std::uint64_t> metadata = {};  ///< bytes of each text that travels with it, by its name
  std::int64_t products = -1;
  std::string model = {};                          ///< name of the one that made the vectors
  std::string fingerprint = {};                    ///< of that model, see Embedder::fingerprint
  bool draft = false;                              ///< see IndexOptions
  std::map<std::string, std::int64_t> shows = {};  ///< vectors by what they show: title, keyword, picture ...
};

/// Reads a file of Index or ProductSearch; no model is needed. Errors: as Index::load's.
TRINE_API IndexSummary describe_index(const std::filesystem::path& index);

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

  /// Embeds a catalogue: title (in several phrasings), description, keywords, pictures and clips (more than five become
  /// their mean), several vectors per product. What cannot be read is left out and reported.
  /// Errors: std::invalid_argument for products without id or title and for ids that come twice.
  static ProductSearch build(Embedder embedder, const std::vector<Product>& catalogue, IndexReport* report = nullptr,
                             const IndexOptions& options = {});
  /// Adds products that are not there yet.
  IndexReport add(const std::vector<Product>& products, const IndexOptions& options = {});
  /// Adds new products and replaces those of the same id. Only new ones and those are embedded whose texts, pictures or
  /// clips have changed. Errors: std::runtime_error where the files of the model have changed since the index was made.
  IndexReport update(const std::vector<Product>& products, const IndexOptions& options = {});
  /// Errors: std::invalid_argument for an id that is not there; nothing is removed then.
  void remove(const std::vector<std::string>& ids);
  /// Links neighbouring vectors, see Index::build_graph: a search looks at the products near the query only, of which
  /// there may be a million. Later additions, updates and removals keep the graph up to date, and it is saved.
  void build_graph(const GraphOptions& options = {});
  void drop_graph();
  std::optional<GraphOptions> graph() const;
  /// One file, written beside, synced and renamed.
  void save(const std::filesystem::path& index) const;

  /// The vectors of what is there. Errors: as Embedder's and Transcriber's.
  EmbeddedQuery embed(const Query& query, bool hearing = true) const;
  /// Best first. Errors: std::invalid_argument for a query without any modality or k below 1.
  SearchResult search(const Inputs& query, const SearchOptions& options = {}) const;
  SearchResult search(const Query& query, const SearchOptions& options = {}) const;
  /// The same from the unit vectors (D) that `embed` or Embedder::embed_each gives.
  SearchResult search(const std::map<Modality, torch::Tensor>& query, const SearchOptions& options = {}) const;

  /// Cosine of a query's vector to each product's nearest vector, 0.05 less for a description or keyword.
  /// (D) -> (P), in the order of `products()`
  torch::Tensor similarities(const torch::Tensor& vector) const;
  /// The hits of a query whose products have these scores (P), as `search` makes them of the weighted mean's cosine.
  std::vector<Hit> rank(const std::map<Modality, torch::Tensor>& query, const torch::Tensor& scores,
                        const SearchOptions& options = {}) const;

  /// Standard deviation of a modality's similarities to the products that are not meant, as the catalogue shows it when
  /// its own titles, pictures and clips are searched for. Weights and temperatures are relative to it.
  float spread(Modality modality) const;

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
