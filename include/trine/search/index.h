#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
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

/// Vectors by id, searched exactly by inner product.
///
///     trine::Index index(384);
///     index.add("banana", vector);
///     std::vector<trine::Match> best = index.search(query, 10);
///     index.save("products.trine");
///
/// Scores do not depend on the order of insertion, ties are broken by id. Reading from several threads is safe;
/// changing an index while it is read is not.
class TRINE_API Index {
 public:
  explicit Index(std::int64_t dim);  ///< std::invalid_argument unless 1 <= dim <= 65536
  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  ~Index();

  std::int64_t dim() const;
  std::int64_t size() const;

  /// Errors (std::invalid_argument): wrong dimension, NaN or Inf, empty id, id over 64 KiB; add: an id that is there;
  /// update, remove, vector: one that is not.
  void add(std::string_view id, std::span<const float> vector);
  void update(std::string_view id, std::span<const float> vector);
  void remove(std::string_view id);
  bool contains(std::string_view id) const;
  std::vector<float> vector(std::string_view id) const;
  std::vector<std::string> ids() const;  ///< sorted

  /// The best `k` by score, best first; fewer if the index (or what `keep` leaves) is smaller.
  std::vector<Match> search(std::span<const float> query, std::int64_t k,
                            const std::function<bool(std::string_view id)>& keep = {}) const;

  /// Free text that travels with the index and is covered by its checksums: a catalogue, the model's name.
  std::map<std::string, std::string>& metadata();
  const std::map<std::string, std::string>& metadata() const;

  /// One file, written beside, synced and renamed. `docs/formats.md` describes it.
  void save(const std::filesystem::path& path) const;
  /// std::runtime_error for a file that is cut, changed in any byte, of a newer version, or not an index.
  static Index load(const std::filesystem::path& path);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trine
