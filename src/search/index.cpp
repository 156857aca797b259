#include "trine/search/index.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <new>
#include <unordered_map>
#include <utility>

#include "detail/error.h"
#include "search/index_file.h"

namespace trine {
namespace {

// Rows scored at a time: their scores stay in the first-level cache until the best have been picked.
constexpr std::size_t kBlockRows = 256;
// Sums kept apart in a dot product: four 256-bit registers, enough to hide the latency of an addition.
constexpr std::size_t kLanes = 16;

/// query (dim) . rows (count, dim) -> scores (count). A score depends on nothing but the query and its row. A product
/// of two floats is exact in double, so the order of additions written here decides every bit, with or without fused
/// multiply-add, and the sum of finite values can neither overflow nor become NaN. Memory is the limit, not arithmetic.
[[gnu::always_inline]] inline void score_rows_inline(const double* query, const float* rows, std::size_t count,
                                                     std::size_t dim, float* scores) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  for (std::size_t row = 0; row < count; ++row) {
    const float* values = rows + row * dim;
    double sums[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
#pragma GCC unroll 16
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] += query[i + lane] * static_cast<double>(values[i + lane]);
      }
    }
    for (std::size_t lane = 0; i + lane < dim; ++lane) {
      sums[lane] += query[i + lane] * static_cast<double>(values[i + lane]);
    }
    for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
      for (std::size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    }
    scores[row] = static_cast<float>(std::clamp(sums[0], -kLargest, kLargest));
  }
}

#ifdef __x86_64__
[[gnu::target("avx2")]] void score_rows_avx2(const double* query, const float* rows, std::size_t count, std::size_t dim,
                                             float* scores) {
  score_rows_inline(query, rows, count, dim, scores);
}
#endif

void score_rows(const double* query, const float* rows, std::size_t count, std::size_t dim, float* scores) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return score_rows_avx2(query, rows, count, dim, scores);
#endif
  score_rows_inline(query, rows, count, dim, scores);
}

/// An id as it may stand in an error message: short, printable ASCII.
std::string quoted(std::string_view id) {
  constexpr std::size_t kShown = 80;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text = "\"";
  for (const char c : id.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      text += c;
    } else {
      text += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text + (id.size() > kShown ? "...\"" : "\"");
}

void check_vector(const char* who, const char* what, std::span<const float> vector, std::size_t dim) {
  if (vector.size() != dim) {
    detail::bad_argument(who, "the ", what, " needs ", dim, " values, got ", vector.size());
  }
  const auto bad = std::ranges::find_if(vector, [](float value) { return !std::isfinite(value); });
  if (bad != vector.end()) {
    detail::bad_argument(who, "the ", what, " must be finite, its value ", bad - vector.begin(), " is ", *bad);
  }
}

struct IdHash : std::hash<std::string_view> {
  using is_transparent = void;
};

using Rows = std::unordered_map<std::string, std::size_t, IdHash, std::equal_to<>>;

}  // namespace

struct Index::Impl {
  std::size_t dim = 0;
  Rows rows;                            // id -> row
  std::vector<const std::string*> ids;  // row -> id, the key in `rows`, which keeps its address
  std::vector<float> values;            // (rows, dim)
  std::map<std::string, std::string> metadata;

  std::span<float> values_of(std::size_t row) { return {values.data() + row * dim, dim}; }
  std::span<const float> values_of(std::size_t row) const { return {values.data() + row * dim, dim}; }

  Rows::const_iterator find(const char* who, std::string_view id) const {
    const auto found = rows.find(id);
    if (found == rows.end()) detail::bad_argument(who, "there is no record with the id ", quoted(id));
    return found;
  }

  /// All rows, ascending by id.
  std::vector<std::size_t> sorted_rows() const {
    std::vector<std::size_t> sorted(ids.size());
    for (std::size_t row = 0; row < sorted.size(); ++row) sorted[row] = row;
    std::ranges::sort(sorted, [this](std::size_t a, std::size_t b) { return *ids[a] < *ids[b]; });
    return sorted;
  }
};

Index::Index(std::int64_t dim) : impl_(std::make_unique<Impl>()) {
  if (dim < 1 || dim > static_cast<std::int64_t>(detail::kMaxIndexDim)) {
    detail::bad_argument("Index", "the dimension must be 1 to ", detail::kMaxIndexDim, ", got ", dim);
  }
  impl_->dim = static_cast<std::size_t>(dim);
}

Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

std::int64_t Index::dim() const { return static_cast<std::int64_t>(impl_->dim); }
std::int64_t Index::size() const { return static_cast<std::int64_t>(impl_->ids.size()); }

void Index::add(std::string_view id, std::span<const float> vector) {
  constexpr const char* kWho = "Index::add";
  if (id.empty() || id.size() > detail::kMaxIndexIdBytes) {
    detail::bad_argument(kWho, "an id must have 1 to ", detail::kMaxIndexIdBytes, " bytes, got ", id.size());
  }
  check_vector(kWho, "vector", vector, impl_->dim);
  const std::size_t row = impl_->ids.size();
  if (row >= detail::kMaxIndexRecords) {
    detail::bad_argument(kWho, "the index is full: it holds ", detail::kMaxIndexRecords, " records");
  }
  const auto [place, is_new] = impl_->rows.try_emplace(std::string(id), row);
  if (!is_new) detail::bad_argument(kWho, "there is already a record with the id ", quoted(id));
  try {
    impl_->ids.push_back(&place->first);
    impl_->values.insert(impl_->values.end(), vector.begin(), vector.end());
  } catch (...) {  // out of memory: the index stays as it was
    impl_->ids.resize(row);
    impl_->rows.erase(place);
    throw;
  }
}

void Index::update(std::string_view id, std::span<const float> vector) {
  constexpr const char* kWho = "Index::update";
  const auto found = impl_->find(kWho, id);
  check_vector(kWho, "vector", vector, impl_->dim);
  std::ranges::copy(vector, impl_->values_of(found->second).begin());
}

void Index::remove(std::string_view id) {
  const auto found = impl_->find("Index::remove", id);
  const std::size_t row = found->second;
  const std::size_t last = impl_->ids.size() - 1;
  if (row != last) {  // the last record moves into the gap
    std::ranges::copy(impl_->values_of(last), impl_->values_of(row).begin());
    impl_->ids[row] = impl_->ids[last];
    impl_->rows.find(*impl_->ids[row])->second = row;
  }
  impl_->ids.pop_back();
  impl_->values.resize(last * impl_->dim);
  impl_->rows.erase(found);
}

bool Index::contains(std::string_view id) const { return impl_->rows.find(id) != impl_->rows.end(); }

std::vector<float> Index::vector(std::string_view id) const {
  const auto values = impl_->values_of(impl_->find("Index::vector", id)->second);
  return {values.begin(), values.end()};
}

std::vector<std::string> Index::ids() const {
  std::vector<std::string> ids;
  ids.reserve(impl_->ids.size());
  for (const std::size_t row : impl_->sorted_rows()) ids.push_back(*impl_->ids[row]);
  return ids;
}

std::vector<Match> Index::search(std::span<const float> query, std::int64_t k,
                                 const std::function<bool(std::string_view id)>& keep) const {
  constexpr const char* kWho = "Index::search";
  if (k < 1) detail::bad_argument(kWho, "k must be at least 1, got ", k);
  check_vector(kWho, "query", query, impl_->dim);
  const std::vector<double> wide(query.begin(), query.end());

  struct Candidate {
    float score;
    const std::string* id;
  };
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : *a.id < *b.id;
  };
  const std::size_t count = impl_->ids.size();
  const std::size_t wanted = std::min(count, static_cast<std::size_t>(k));
  std::vector<Candidate> best;  // a heap with its worst on top
  best.reserve(wanted);
  std::array<float, kBlockRows> scores;
  for (std::size_t begin = 0; begin < count; begin += kBlockRows) {
    const std::size_t rows = std::min(kBlockRows, count - begin);
    score_rows(wide.data(), impl_->values_of(begin).data(), rows, impl_->dim, scores.data());
    for (std::size_t i = 0; i < rows; ++i) {
      const Candidate candidate{scores[i], impl_->ids[begin + i]};
      const bool full = best.size() == wanted;
      if (full && !better(candidate, best.front())) continue;
      if (keep && !keep(*candidate.id)) continue;
      if (full) {
        std::ranges::pop_heap(best, better);
        best.back() = candidate;
      } else {
        best.push_back(candidate);
      }
      std::ranges::push_heap(best, better);
    }
  }
  std::ranges::sort_heap(best, better);

  std::vector<Match> matches;
  matches.reserve(best.size());
  for (const Candidate& candidate : best) matches.push_back({*candidate.id, candidate.score});
  return matches;
}

std::map<std::string, std::string>& Index::metadata() { return impl_->metadata; }
const std::map<std::string, std::string>& Index::metadata() const { return impl_->metadata; }

void Index::save(const std::filesystem::path& path) const {
  std::vector<detail::IndexRecord> records;
  records.reserve(impl_->ids.size());
  for (const std::size_t row : impl_->sorted_rows()) records.push_back({*impl_->ids[row], impl_->values_of(row)});
  detail::write_index_file("Index::save", path, impl_->dim, records, impl_->metadata);
}

Index Index::load(const std::filesystem::path& path) {
  constexpr const char* kWho = "Index::load";
  try {
    detail::IndexContent content = detail::read_index_file(kWho, path);
    Index index(static_cast<std::int64_t>(content.dim));
    Impl& impl = *index.impl_;
    impl.rows.reserve(content.ids.size());
    impl.ids.reserve(content.ids.size());
    for (std::string& id : content.ids) {
      impl.ids.push_back(&impl.rows.emplace(std::move(id), impl.ids.size()).first->first);
    }
    impl.values = std::move(content.vectors);
    impl.metadata = std::move(content.metadata);
    return index;
  } catch (const std::bad_alloc&) {
    detail::failure(kWho, "there is not enough memory for ", path);
  }
}

}  // namespace trine
