#include "trine/search/index.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "detail/error.h"
#include "search/graph.h"
#include "search/index_file.h"
#include "search/parallel.h"
#include "search/scan.h"

namespace trine {
namespace {

constexpr std::size_t kDefaultEf = 64, kMostEf = 65536, kMostThreads = 1024;
// Candidates of a walk over codes that are scored exactly.
constexpr std::size_t kRescored = 2, kRescoredMore = 16;
// Removed rows are cleared away when they are this part of all, and this many.
constexpr std::size_t kGoneShare = 5, kGoneLeast = 64;

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

struct IdHash : std::hash<std::string_view> {
  using is_transparent = void;
};

using Rows = std::unordered_map<std::string, std::size_t, IdHash, std::equal_to<>>;

}  // namespace

struct Index::Impl {
  IndexForm options;
  detail::Rows vectors;
  Rows rows;                            // id -> row
  std::vector<const std::string*> ids;  // row -> id, the key in `rows`, which keeps its address; null: removed
  std::size_t gone = 0;                 // rows without an id; only a graph has them
  std::optional<detail::Graph> graph;
  std::map<std::string, std::string> metadata;

  Impl(std::size_t dim, const IndexForm& chosen) : options(chosen), vectors(dim, chosen.precision, chosen.rescore) {}

  std::size_t dim() const { return vectors.dim; }
  std::size_t size() const { return rows.size(); }

  Rows::const_iterator find(const char* who, std::string_view id) const {
    const auto found = rows.find(id);
    if (found == rows.end()) detail::bad_argument(who, "there is no record with the id ", quoted(id));
    return found;
  }

  void check(const char* who, const char* what, std::span<const float> vector) const {
    if (vector.size() != dim()) {
      detail::bad_argument(who, "the ", what, " needs ", dim(), " values, got ", vector.size());
    }
    const auto bad = std::ranges::find_if(vector, [](float value) { return !std::isfinite(value); });
    if (bad != vector.end()) {
      detail::bad_argument(who, "the ", what, " must be finite, its value ", bad - vector.begin(), " is ", *bad);
    }
  }

  /// Of what is to be kept.
  void check_kept(const char* who, std::span<const float> vector) const {
    check(who, "vector", vector);
    if (!vectors.has_halves) return;
    const auto bad = std::ranges::find_if(vector, [](float value) { return std::fabs(value) > detail::kLargestHalf; });
    if (bad != vector.end()) {
      detail::bad_argument(who, "fp16 holds values up to ", detail::kLargestHalf, ", value ", bad - vector.begin(),
                           " of the vector is ", *bad);
    }
  }

  /// All rows with an id, ascending by it.
  std::vector<std::uint32_t> sorted_rows() const {
    std::vector<std::uint32_t> sorted;
    sorted.reserve(size());
    for (std::size_t row = 0; row < ids.size(); ++row) {
      if (ids[row] != nullptr) sorted.push_back(static_cast<std::uint32_t>(row));
    }
    std::ranges::sort(sorted, [this](std::uint32_t a, std::uint32_t b) { return *ids[a] < *ids[b]; });
    return sorted;
  }

  /// A checked vector under a new id. The graph comes afterwards.
  void append(const char* who, std::string_view id, std::span<const float> vector) {
    if (ids.size() >= detail::kMaxIndexRecords) {
      detail::bad_argument(who, "the index is full: it holds ", detail::kMaxIndexRecords, " records");
    }
    const auto [place, is_new] = rows.try_emplace(std::string(id), ids.size());
    if (!is_new) detail::bad_argument(who, "there is already a record with the id ", quoted(id));
    try {
      ids.push_back(&place->first);
      vectors.add(vector);
    } catch (...) {  // out of memory: the index stays as it was
      ids.resize(place->second);
      rows.erase(place);
      throw;
    }
  }

  void take_back(std::size_t count) {
    while (ids.size() > count) {
      rows.erase(rows.find(*ids.back()));
      ids.pop_back();
    }
    vectors.resize(count);
  }

  void extend_graph(std::size_t threads = 0) {
    if (graph) graph->insert(vectors, ids, threads);
  }

  /// Moves the rows with an id to the front, in their order.
  void clear_gone() {
    std::vector<std::uint32_t> kept;
    for (std::size_t row = 0; row < ids.size(); ++row) {
      if (ids[row] != nullptr) kept.push_back(static_cast<std::uint32_t>(row));
    }
    if (graph) graph = graph->of_rows(vectors, kept);
    for (std::size_t row = 0; row < kept.size(); ++row) {
      if (kept[row] == row) continue;
      vectors.copy(kept[row], row);
      ids[row] = ids[kept[row]];
      rows.find(*ids[row])->second = row;
    }
    ids.resize(kept.size());
    vectors.resize(kept.size());
    gone = 0;
  }

  void note_gone() {
    ++gone;
    if (gone >= kGoneLeast && gone * kGoneShare >= ids.size()) clear_gone();
  }

  /// Of candidate rows the best, with their exact scores.
  std::vector<Match> best_of(std::span<const std::uint32_t> candidates, std::span<const float> query,
                             std::size_t k) const {
    struct Candidate {
      float score;
      const std::string* id;
    };
    const std::vector<double> wide(query.begin(), query.end());
    std::vector<Candidate> best;
    best.reserve(candidates.size());
    std::vector<float> buffer;
    constexpr std::size_t kAhead = 2;  // rows; and the ids, which lie here and there
    for (const std::uint32_t row : candidates) __builtin_prefetch(&ids[row]);
    for (std::size_t i = 0; i < std::min(kAhead, candidates.size()); ++i) vectors.prefetch(candidates[i]);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (i + kAhead < candidates.size()) vectors.prefetch(candidates[i + kAhead]);
      __builtin_prefetch(ids[candidates[i]]);
      const float score = detail::exact_score(wide.data(), vectors.read(candidates[i], buffer).data(), dim());
      best.push_back({score, ids[candidates[i]]});
    }
    const auto end = best.begin() + static_cast<std::ptrdiff_t>(std::min(k, best.size()));
    std::ranges::partial_sort(best, end, [](const Candidate& a, const Candidate& b) {
      return a.score != b.score ? a.score > b.score : *a.id < *b.id;
    });
    std::vector<Match> matches;
    for (auto one = best.begin(); one != end; ++one) matches.push_back({*one->id, one->score});
    return matches;
  }

  std::vector<std::vector<Match>> search(const char* who, std::span<const float> queries, std::int64_t wanted,
                                         const IndexSearchOptions& how) const {
    if (wanted < 1) detail::bad_argument(who, "k must be at least 1, got ", wanted);
    check_range(who, "ef", how.ef, 0, kMostEf);
    check_range(who, "threads", how.threads, 0, kMostThreads);
    const std::size_t k = std::min(static_cast<std::size_t>(wanted), size());
    const auto threads = static_cast<std::size_t>(how.threads);
    const std::size_t count = queries.size() / dim();
    for (std::size_t q = 0; q < count; ++q) check(who, "query", queries.subspan(q * dim(), dim()));
    std::vector<std::vector<Match>> results(count);
    if (k == 0) return results;

    detail::RowFilter filter(ids, gone, how.keep);
    const auto query = [&](std::size_t q) { return queries.subspan(q * dim(), dim()); };
    std::vector<std::size_t> left(count);
    std::iota(left.begin(), left.end(), std::size_t{0});
    if (graph && !how.exact) {
      const std::size_t ef = std::max(how.ef == 0 ? kDefaultEf : static_cast<std::size_t>(how.ef), k);
      left = walk(queries, k, ef, filter, threads, results);
    }
    if (left.empty()) return results;
    std::vector<float> some;
    for (const std::size_t q : left) some.insert(some.end(), query(q).begin(), query(q).end());
    const auto found = detail::scan(vectors, options.precision, some, k, filter, threads);
    for (std::size_t i = 0; i < left.size(); ++i) results[left[i]] = best_of(found[i], query(left[i]), k);
    return results;
  }

  /// Along the graph; returns the queries for which a scan is better.
  std::vector<std::size_t> walk(std::span<const float> queries, std::size_t k, std::size_t ef,
                                detail::RowFilter& filter, std::size_t threads,
                                std::vector<std::vector<Match>>& results) const {
    constexpr std::size_t kQueriesOfAThread = 4;
    const std::size_t count = results.size(), rescored = k * kRescored + kRescoredMore;
    std::vector<std::uint8_t> given_up(count);
    std::atomic<std::size_t> next = 0;
    detail::in_parallel(detail::threads_for(threads, count / kQueriesOfAThread), [&](std::size_t) {
      std::vector<std::uint32_t> found;
      for (std::size_t q; (q = next.fetch_add(1)) < count;) {
        const auto query = queries.subspan(q * dim(), dim());
        given_up[q] = !graph->walk(vectors, detail::CodeQuery(query, vectors.stride()), ef, filter, found);
        if (given_up[q]) continue;
        found.resize(std::min(found.size(), rescored));
        results[q] = best_of(found, query, k);
      }
    });
    std::vector<std::size_t> left;
    for (std::size_t q = 0; q < count; ++q) {
      if (given_up[q]) left.push_back(q);
    }
    return left;
  }

  static void check_range(const char* who, const char* what, std::int64_t value, std::size_t least, std::size_t most) {
    if (value < static_cast<std::int64_t>(least) || value > static_cast<std::int64_t>(most)) {
      detail::bad_argument(who, what, " must be ", least, " to ", most, ", got ", value);
    }
  }
};

Index::Index(std::int64_t dim, const IndexForm& options) {
  Impl::check_range("Index", "the dimension", dim, 1, detail::kMaxIndexDim);
  if (options.rescore && *options.rescore >= options.precision) {
    detail::bad_argument("Index", "what is kept for rescoring must be more exact than what is scanned");
  }
  impl_ = std::make_unique<Impl>(static_cast<std::size_t>(dim), options);
}

Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

std::int64_t Index::dim() const { return static_cast<std::int64_t>(impl_->dim()); }
std::int64_t Index::size() const { return static_cast<std::int64_t>(impl_->size()); }
const IndexForm& Index::options() const { return impl_->options; }

void Index::add(std::string_view id, std::span<const float> vector) {
  const std::string copy(id);
  add({&copy, 1}, vector);
}

void Index::add(std::span<const std::string> ids, std::span<const float> vectors) {
  constexpr const char* kWho = "Index::add";
  const std::size_t dim = impl_->dim(), before = impl_->ids.size();
  if (ids.size() == 1) impl_->check(kWho, "vector", vectors);
  if (vectors.size() != ids.size() * dim) {
    detail::bad_argument(kWho, ids.size(), " vectors need ", ids.size() * dim, " values, got ", vectors.size());
  }
  try {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i].empty() || ids[i].size() > detail::kMaxIndexIdBytes) {
        detail::bad_argument(kWho, "an id must have 1 to ", detail::kMaxIndexIdBytes, " bytes, got ", ids[i].size());
      }
      impl_->check_kept(kWho, vectors.subspan(i * dim, dim));
      impl_->append(kWho, ids[i], vectors.subspan(i * dim, dim));
    }
  } catch (...) {
    impl_->take_back(before);
    throw;
  }
  impl_->extend_graph();
}

void Index::update(std::string_view id, std::span<const float> vector) {
  constexpr const char* kWho = "Index::update";
  const auto found = impl_->find(kWho, id);
  impl_->check_kept(kWho, vector);
  if (!impl_->graph) return impl_->vectors.set(found->second, vector);
  // The old node keeps its vector and its links, so that walks still pass, but no id.
  impl_->ids.push_back(&found->first);
  try {
    impl_->vectors.add(vector);
  } catch (...) {
    impl_->ids.pop_back();
    throw;
  }
  impl_->ids[found->second] = nullptr;
  impl_->rows.find(id)->second = impl_->ids.size() - 1;
  impl_->extend_graph();
  impl_->note_gone();
}

void Index::remove(std::string_view id) {
  const auto found = impl_->find("Index::remove", id);
  const std::size_t row = found->second;
  if (impl_->graph) {
    impl_->ids[row] = nullptr;
    impl_->rows.erase(found);
    return impl_->note_gone();
  }
  const std::size_t last = impl_->ids.size() - 1;
  if (row != last) {  // the last record moves into the gap
    impl_->vectors.copy(last, row);
    impl_->ids[row] = impl_->ids[last];
    impl_->rows.find(*impl_->ids[row])->second = row;
  }
  impl_->ids.pop_back();
  impl_->vectors.resize(last);
  impl_->rows.erase(found);
}

bool Index::contains(std::string_view id) const { return impl_->rows.find(id) != impl_->rows.end(); }

std::vector<float> Index::vector(std::string_view id) const {
  std::vector<float> buffer;
  const auto values = impl_->vectors.read(impl_->find("Index::vector", id)->second, buffer);
  return {values.begin(), values.end()};
}

std::vector<std::string> Index::ids() const {
  std::vector<std::string> ids;
  ids.reserve(impl_->size());
  for (const std::uint32_t row : impl_->sorted_rows()) ids.push_back(*impl_->ids[row]);
  return ids;
}

std::vector<Match> Index::search(std::span<const float> query, std::int64_t k,
                                 const std::function<bool(std::string_view id)>& keep) const {
  return search(query, k, IndexSearchOptions{.keep = keep});
}

std::vector<Match> Index::search(std::span<const float> query, std::int64_t k,
                                 const IndexSearchOptions& options) const {
  constexpr const char* kWho = "Index::search";
  impl_->check(kWho, "query", query);
  return std::move(impl_->search(kWho, query, k, options)[0]);
}

std::vector<std::vector<Match>> Index::search_many(std::span<const float> queries, std::int64_t k,
                                                   const IndexSearchOptions& options) const {
  constexpr const char* kWho = "Index::search_many";
  if (queries.size() % impl_->dim() != 0) {
    detail::bad_argument(kWho, "queries need ", impl_->dim(), " values each, got ", queries.size(), " values");
  }
  return impl_->search(kWho, queries, k, options);
}

void Index::build_graph(const GraphOptions& options) {
  constexpr const char* kWho = "Index::build_graph";
  Impl::check_range(kWho, "m", options.m, 2, detail::kMostGraphLinks);
  Impl::check_range(kWho, "ef_construction", options.ef_construction, 1, kMostEf);
  Impl::check_range(kWho, "threads", options.threads, 0, kMostThreads);
  drop_graph();
  impl_->vectors.make_codes();
  detail::Graph graph(static_cast<std::size_t>(options.m), static_cast<std::size_t>(options.ef_construction));
  graph.insert(impl_->vectors, impl_->ids, static_cast<std::size_t>(options.threads));
  impl_->graph = std::move(graph);
}

void Index::drop_graph() {
  if (!impl_->graph) return;
  impl_->graph.reset();
  if (impl_->gone > 0) impl_->clear_gone();
  const IndexForm& options = impl_->options;
  if (options.precision != VectorType::int8) impl_->vectors.drop_codes();
}

bool Index::has_graph() const { return impl_->graph.has_value(); }

std::optional<GraphOptions> Index::graph() const {
  if (!impl_->graph) return std::nullopt;
  return GraphOptions{.m = static_cast<std::int64_t>(impl_->graph->m()),
                      .ef_construction = static_cast<std::int64_t>(impl_->graph->ef_construction())};
}

std::map<std::string, std::string>& Index::metadata() { return impl_->metadata; }
const std::map<std::string, std::string>& Index::metadata() const { return impl_->metadata; }

void Index::save(const std::filesystem::path& path) const {
  const std::vector<std::uint32_t> sorted = impl_->sorted_rows();
  detail::write_index_file(
      "Index::save", path,
      {impl_->options, impl_->vectors, sorted, impl_->ids, impl_->graph ? &*impl_->graph : nullptr, impl_->metadata});
}

Index Index::load(const std::filesystem::path& path, bool mapped) {
  constexpr const char* kWho = "Index::load";
  try {
    detail::IndexContent content = detail::read_index_file(kWho, path, mapped);
    Index index(static_cast<std::int64_t>(content.vectors.dim), content.options);
    Impl& impl = *index.impl_;
    impl.rows.reserve(content.ids.size());
    impl.ids.reserve(content.ids.size());
    for (std::string& id : content.ids) {
      impl.ids.push_back(&impl.rows.emplace(std::move(id), impl.ids.size()).first->first);
    }
    impl.vectors = std::move(content.vectors);
    impl.graph = std::move(content.graph);
    impl.metadata = std::move(content.metadata);
    return index;
  } catch (const std::bad_alloc&) {
    detail::failure(kWho, "there is not enough memory for ", path);
  }
}

}  // namespace trine
