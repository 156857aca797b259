#include "search/scan.h"

#include <cmath>
#include <limits>

#include "search/kernels.h"
#include "search/parallel.h"

namespace trine::detail {

namespace {

constexpr std::size_t kBlockRows = 240;    // with their scores they stay in the second-level cache; 12 and 6 divide it
constexpr std::size_t kPanelFrom = 4;      // fewer queries are scored one by one
constexpr std::size_t kMostQueries = 512;  // in one pass
constexpr std::size_t kMostCandidates = std::size_t{1} << 22;  // of all queries of a pass
constexpr std::size_t kThreadBytes = std::size_t{2} << 20;  // a thread starts in the time of a tenth of this
constexpr std::size_t kOversample = 4, kOversampleMore = 24;
constexpr float kNever = std::numeric_limits<float>::infinity();

/// The rows that one thread has seen whose score may be among the `wanted` best.
class Collector {
 public:
  Collector(std::size_t wanted, double margin) : wanted_(wanted), margin_(margin), limit_(2 * wanted + 64) {}

  float threshold() const { return threshold_; }

  void add(float score, std::uint32_t row) {
    seen_.push_back({score, row});
    if (seen_.size() >= limit_) {
      prune();
      limit_ = std::max(limit_, 2 * seen_.size());  // many are within the margin
    }
  }
  void add(const Collector& other) {
    for (const Candidate& candidate : other.seen_) {
      if (candidate.score >= threshold_) add(candidate.score, candidate.row);
    }
  }

  std::vector<std::uint32_t> rows() {
    prune();
    std::vector<std::uint32_t> rows;
    for (const Candidate& candidate : seen_) rows.push_back(candidate.row);
    return rows;
  }

 private:
  struct Candidate {
    float score;
    std::uint32_t row;
  };

  void prune() {
    if (seen_.size() <= wanted_) return;
    const auto last = seen_.begin() + static_cast<std::ptrdiff_t>(wanted_ - 1);
    std::ranges::nth_element(seen_, last, std::greater(), &Candidate::score);
    const double cut = static_cast<double>(last->score) - margin_;
    threshold_ = static_cast<float>(cut);
    if (static_cast<double>(threshold_) > cut) threshold_ = std::nextafter(threshold_, -kNever);
    std::erase_if(seen_, [&](const Candidate& candidate) { return candidate.score < threshold_; });
  }

  std::size_t wanted_;
  double margin_;
  std::size_t limit_;
  float threshold_ = -kNever;
  std::vector<Candidate> seen_;
};

double norm_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

/// Twice what rounding can do to a score, for vectors of these lengths: an addition or multiplication is off by at most
/// 2^-24 of the sum of magnitudes, which is at most the product of the lengths; a half by 2^-11 of its value.
double margin_of(const Rows& rows, VectorType scanned, double query_norm) {
  if (scanned == VectorType::int8) return 0;
  const double dim = static_cast<double>(rows.dim), product = query_norm * rows.largest_norm * 1.01;
  double error = (dim + 8) * 0x1p-24 * product + (dim + 8) * static_cast<double>(std::numeric_limits<float>::min());
  if (scanned == VectorType::fp16 && rows.has_floats)
    error += 0x1p-11 * product + 0x1p-25 * std::sqrt(dim) * query_norm;
  return 2 * error;
}

/// Queries side by side, see Kernels.
struct Panel {
  std::size_t first = 0, queries = 0, width = 0;
  std::vector<float, LargeAllocator<float>> floats = {};
  std::vector<std::int8_t, LargeAllocator<std::int8_t>> codes = {};
  std::vector<std::int32_t> offsets = {};
};

/// A pass over all rows with some queries.
class Pass {
 public:
  Pass(const Rows& rows, VectorType scanned, std::span<const float> queries, std::size_t k, RowFilter& filter)
      : rows_(rows), scanned_(scanned), queries_(queries), count_(queries.size() / rows.dim), k_(k), filter_(filter) {
    if (scanned == VectorType::int8) {
      for (std::size_t q = 0; q < count_; ++q) codes_.emplace_back(query(q), rows.stride());
    }
    if (count_ >= kPanelFrom && (scanned != VectorType::int8 || kernels_.panel_codes != nullptr)) make_panels();
  }

  std::vector<std::vector<std::uint32_t>> run(std::size_t wanted_threads) {
    const std::size_t width = scanned_ == VectorType::fp32   ? rows_.dim * sizeof(float)
                              : scanned_ == VectorType::fp16 ? rows_.dim * sizeof(Half)
                                                             : rows_.stride();
    const std::size_t pieces =
        std::max(rows_.count * width * std::max<std::size_t>(count_ / 8, 1) / kThreadBytes, std::size_t{1});
    const std::size_t threads = threads_for(wanted_threads, pieces);
    std::vector<std::vector<Collector>> found(threads);
    std::atomic<std::size_t> next = 0;
    in_parallel(threads, [&](std::size_t worker) {
      Scratch scratch(*this);
      std::vector<Collector>& collectors = found[worker];
      for (std::size_t q = 0; q < count_; ++q) {
        collectors.emplace_back(k_, margin_of(rows_, scanned_, norm_of(query(q))));
      }
      // A few blocks at a time: the processor's prefetching likes long ways.
      constexpr std::size_t kStep = 16 * kBlockRows;
      for (std::size_t begin; (begin = next.fetch_add(kStep)) < rows_.count;) {
        const std::size_t end = std::min(begin + kStep, rows_.count);
        for (; begin < end; begin += kBlockRows) block(begin, std::min(kBlockRows, end - begin), collectors, scratch);
      }
    });
    std::vector<std::vector<std::uint32_t>> best;
    for (std::size_t q = 0; q < count_; ++q) {
      std::size_t first = 0;
      while (found[first].empty()) ++first;  // a thread that was never started
      for (std::size_t worker = first + 1; worker < threads; ++worker) {
        if (!found[worker].empty()) found[first][q].add(found[worker][q]);
      }
      best.push_back(found[first][q].rows());
    }
    return best;
  }

 private:
  struct Scratch {
    explicit Scratch(const Pass& pass)
        : scores(kBlockRows * std::max<std::size_t>(pass.kernels_.panel, 1)),
          sums(kBlockRows),
          hits(kBlockRows),
          thresholds(pass.kernels_.panel) {
      if (pass.scanned_ == VectorType::fp16 && !pass.panels_.empty()) wide.resize(kBlockRows * pass.rows_.dim);
    }
    std::vector<float, LargeAllocator<float>> scores, wide;
    std::vector<std::int32_t> sums;
    std::vector<std::uint32_t> hits;
    std::vector<float> thresholds;
  };

  std::span<const float> query(std::size_t q) const { return queries_.subspan(q * rows_.dim, rows_.dim); }

  void make_panels() {
    constexpr std::size_t kUnit = 16;
    for (std::size_t first = 0; first < count_;) {
      Panel panel{.first = first, .queries = std::min(kernels_.panel, count_ - first)};
      panel.width = panel.queries <= kUnit ? kUnit : kernels_.panel;
      if (scanned_ == VectorType::int8) {
        panel.codes.resize(panel.width * rows_.stride());
        panel.offsets.resize(panel.width);
      } else {
        panel.floats.resize(panel.width * rows_.dim);
      }
      for (std::size_t q = 0; q < panel.queries; ++q) {
        if (scanned_ == VectorType::int8) {
          const CodeQuery& codes = codes_[first + q];
          panel.offsets[q] = codes.offset;
          for (std::size_t i = 0; i < rows_.stride(); ++i) {
            panel.codes[(i / 4 * panel.width + q) * 4 + i % 4] = codes.codes[i];
          }
        } else {
          for (std::size_t i = 0; i < rows_.dim; ++i) panel.floats[i * panel.width + q] = query(first + q)[i];
        }
      }
      first += panel.queries;
      panels_.push_back(std::move(panel));
    }
  }

  void block(std::size_t begin, std::size_t count, std::vector<Collector>& collectors, Scratch& scratch) const {
    if (panels_.empty()) {
      for (std::size_t q = 0; q < count_; ++q) one_query(q, begin, count, collectors[q], scratch);
      return;
    }
    const float* floats = scanned_ == VectorType::fp32 ? rows_.floats.data() + begin * rows_.dim : scratch.wide.data();
    if (scanned_ == VectorType::fp16) {
      kernels_.widen(rows_.halves.data() + begin * rows_.dim, count * rows_.dim, scratch.wide.data());
    }
    for (const Panel& panel : panels_) {
      for (std::size_t q = 0; q < kernels_.panel; ++q) {
        scratch.thresholds[q] = q < panel.queries ? collectors[panel.first + q].threshold() : kNever;
      }
      if (scanned_ == VectorType::int8) {
        kernels_.panel_codes(panel.codes.data(), panel.width, rows_.codes.data() + begin * rows_.stride(), count,
                             rows_.stride(), panel.offsets.data(), rows_.scales.data() + begin,
                             scratch.thresholds.data(), scratch.scores.data(), scratch.hits.data());
      } else {
        kernels_.panel_floats(panel.floats.data(), panel.width, floats, count, rows_.dim, scratch.thresholds.data(),
                              scratch.scores.data(), scratch.hits.data());
      }
      for (std::size_t i = 0; i < count; ++i) {
        for (std::uint32_t bits = scratch.hits[i]; bits != 0; bits &= bits - 1) {
          const auto q = static_cast<std::size_t>(std::countr_zero(bits));
          offer(collectors[panel.first + q], scratch.scores[i * panel.width + q], begin + i);
        }
      }
    }
  }

  void one_query(std::size_t q, std::size_t begin, std::size_t count, Collector& collector, Scratch& scratch) const {
    float* scores = scratch.scores.data();
    if (scanned_ == VectorType::int8) {
      const CodeQuery& codes = codes_[q];
      kernels_.score_codes(codes.codes.data(), rows_.codes.data() + begin * rows_.stride(), count, rows_.stride(),
                           scratch.sums.data());
      for (std::size_t i = 0; i < count; ++i) {
        scores[i] = static_cast<float>(scratch.sums[i] - codes.offset) * rows_.scales.data()[begin + i];
      }
    } else if (scanned_ == VectorType::fp16) {
      kernels_.score_halves(query(q).data(), rows_.halves.data() + begin * rows_.dim, count, rows_.dim, scores);
    } else {
      kernels_.score_floats(query(q).data(), rows_.floats.data() + begin * rows_.dim, count, rows_.dim, scores);
    }
    for (std::size_t i = 0; i < count; ++i) offer(collector, scores[i], begin + i);
  }

  void offer(Collector& collector, float score, std::size_t row) const {
    if (score >= collector.threshold() && filter_.allows(row)) collector.add(score, static_cast<std::uint32_t>(row));
  }

  const Kernels& kernels_ = kernels();
  const Rows& rows_;
  VectorType scanned_;
  std::span<const float> queries_;
  std::size_t count_, k_;
  RowFilter& filter_;
  std::vector<CodeQuery> codes_;
  std::vector<Panel> panels_;
};

/// All rows, where floats might overflow: the scores are the exact ones.
std::vector<std::uint32_t> scan_in_double(const Rows& rows, std::span<const float> query, std::size_t k,
                                          RowFilter& filter) {
  const std::vector<double> wide(query.begin(), query.end());
  std::vector<float> buffer;
  Collector collector(k, 0);
  for (std::size_t row = 0; row < rows.count; ++row) {
    const float score = exact_score(wide.data(), rows.read(row, buffer).data(), rows.dim);
    if (score >= collector.threshold() && filter.allows(row)) collector.add(score, static_cast<std::uint32_t>(row));
  }
  return collector.rows();
}

}  // namespace

bool RowFilter::allows(std::size_t row) {
  if (ids_[row] == nullptr) return false;
  if (!keep_) return true;
  constexpr std::uint8_t kUnknown = 0, kNo = 1, kYes = 2;
  std::uint8_t known = known_[row].load(std::memory_order_relaxed);
  if (known == kUnknown) {
    const std::lock_guard lock(mutex_);
    known = known_[row].load(std::memory_order_relaxed);
    if (known == kUnknown) known_[row].store(known = keep_(*ids_[row]) ? kYes : kNo, std::memory_order_relaxed);
  }
  return known == kYes;
}

CodeQuery::CodeQuery(std::span<const float> query, std::size_t stride) : codes(stride) {
  quantise(query, codes.data(), stride);
  set_offset();
}

void CodeQuery::set_offset() {
  std::int32_t sum = 0;
  for (const std::int8_t code : codes) sum += code;
  offset = 128 * sum;
}

std::vector<std::vector<std::uint32_t>> scan(const Rows& rows, VectorType scanned, std::span<const float> queries,
                                             std::size_t k, RowFilter& filter, std::size_t threads) {
  const std::size_t count = queries.size() / rows.dim;
  std::size_t wanted = std::min(k, rows.count);
  if (scanned == VectorType::int8) wanted = std::min(wanted * kOversample + kOversampleMore, rows.count);
  std::vector<std::vector<std::uint32_t>> best(count);
  if (rows.count == 0) return best;

  constexpr double kSafe = std::numeric_limits<float>::max() / 4;
  std::vector<std::size_t> fast;
  std::vector<float> fast_queries;
  for (std::size_t q = 0; q < count; ++q) {
    const std::span<const float> query = queries.subspan(q * rows.dim, rows.dim);
    if (scanned == VectorType::int8 || norm_of(query) * rows.largest_norm < kSafe) {
      fast.push_back(q);
    } else {
      best[q] = scan_in_double(rows, query, std::min(k, rows.count), filter);
    }
  }
  const std::size_t most = std::clamp<std::size_t>(kMostCandidates / wanted, 1, kMostQueries);
  for (std::size_t first = 0; first < fast.size(); first += most) {
    const std::size_t some = std::min(most, fast.size() - first);
    fast_queries.clear();
    for (std::size_t i = 0; i < some; ++i) {
      const auto query = queries.subspan(fast[first + i] * rows.dim, rows.dim);
      fast_queries.insert(fast_queries.end(), query.begin(), query.end());
    }
    auto found = Pass(rows, scanned, fast_queries, wanted, filter).run(threads);
    for (std::size_t i = 0; i < some; ++i) best[fast[first + i]] = std::move(found[i]);
  }
  return best;
}

}  // namespace trine::detail
