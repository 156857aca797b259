#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trine/export.h"

namespace trine {

struct Match {
  std::string id;
  float score = 0;  ///< inner product with the query; the cosine for unit vectors
};

/// How a value of a vector is kept: 4 bytes, 2, or 1 (and 4 for each vector).
enum class VectorType { fp32, fp16, int8 };

struct IndexForm {
  VectorType precision = VectorType::fp32;  ///< of what a search reads
  /// A second, more exact form that scores what the first has found: fp32 beside fp16 (the same results as fp32 alone,
  /// read at half the cost), fp32 or fp16 beside int8.
  std::optional<VectorType> rescore = std::nullopt;
};

/// Of the graph that `Index::build_graph` makes.
struct GraphOptions {
  std::int64_t m = 16;                 ///< links of a vector, twice as many on the lowest level; 2 to 512
  std::int64_t ef_construction = 200;  ///< candidates among which they are chosen; 1 to 65536
  std::int64_t threads = 0;            ///< 0: as many as there are processors; the graph does not depend on it
};

struct IndexSearchOptions {
  std::function<bool(std::string_view id)> keep = {};  ///< which ids may be found; called by one thread at a time
  std::int64_t ef = 0;                                 ///< breadth of a walk over the graph; 0: 64, at least k
  bool exact = false;                                  ///< a scan also where there is a graph
  std::int64_t threads = 0;                            ///< 0: as many as there are processors and the work is worth
};

/// Vectors by id, searched by inner product: exactly, or along a graph.
///
///     trine::Index index(384);
///     index.add("banana", vector);
///     std::vector<trine::Match> best = index.search(query, 10);
///     index.save("products.trine");
///
/// Scores do not depend on the order of insertion, the other queries or the number of threads, and without a graph
/// neither does what is found; ties are broken by id. Reading from several threads is safe; changing an index while it
/// is read is not. `docs/speed-of-search.md` says what is how fast.
class TRINE_API Index {
 public:
  /// std::invalid_argument unless 1 <= dim <= 65536 and `rescore` is more exact than `precision`.
  explicit Index(std::int64_t dim, const IndexForm& options = {});
  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  ~Index();

  std::int64_t dim() const;
  std::int64_t size() const;
  const IndexForm& options() const;

  /// Errors (std::invalid_argument): wrong dimension, NaN or Inf, over 65504 where fp16 is kept, empty id, id over 64
  /// KiB; add: an id that is there; update, remove, vector: one that is not.
  void add(std::string_view id, std::span<const float> vector);
  /// Many, all or none. vectors: (ids, dim)
  void add(std::span<const std::string> ids, std::span<const float> vectors);
  void update(std::string_view id, std::span<const float> vector);
  void remove(std::string_view id);
  bool contains(std::string_view id) const;
  std::vector<float> vector(std::string_view id) const;  ///< in the most exact form that is kept
  std::vector<std::string> ids() const;                  ///< sorted

  /// The best `k` by score, best first; fewer if the index (or what `keep` leaves) is smaller.
  std::vector<Match> search(std::span<const float> query, std::int64_t k,
                            const std::function<bool(std::string_view id)>& keep = {}) const;
  std::vector<Match> search(std::span<const float> query, std::int64_t k, const IndexSearchOptions& options) const;
  /// The same for each of many queries, faster than one by one. queries: (N, dim)
  std::vector<std::vector<Match>> search_many(std::span<const float> queries, std::int64_t k,
                                              const IndexSearchOptions& options = {}) const;

  /// Links neighbouring vectors (HNSW), so that a search looks at a small part of them and finds most of the best; for
  /// vectors of about equal length. Later additions, updates and removals keep the graph up to date.
  void build_graph(const GraphOptions& options = {});
  void drop_graph();
  bool has_graph() const;
  std::optional<GraphOptions> graph() const;  ///< what it was built with, without `threads`

  /// Free text that travels with the index and is covered by its checksums: a catalogue, the model's name.
  std::map<std::string, std::string>& metadata();
  const std::map<std::string, std::string>& metadata() const;

  /// One file, written beside, synced and renamed. `docs/formats.md` describes it.
  void save(const std::filesystem::path& path) const;
  /// std::runtime_error for a file that is cut, changed in any byte, of a newer version, or not an index.
  /// `mapped`: the vectors stay in the file, once in memory for all processes; it is checked, then must not change
  /// (`save` never changes a file, it puts another in its place). A change of the index copies them first.
  static Index load(const std::filesystem::path& path, bool mapped = false);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trine
