#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <vector>

#include "detail/fetch_ahead.h"
#include "search/half.h"
#include "trine/search/index.h"

namespace trine::detail {

/// Aligned to the cache's lines, and in huge pages where there is much: a scan is as fast as the memory, which without
/// them spends a tenth of its time looking up pages.
template <typename T>
struct LargeAllocator {
  using value_type = T;
  LargeAllocator() = default;
  template <typename Other>
  LargeAllocator(const LargeAllocator<Other>&) {}  // NOLINT: as the standard's

  T* allocate(std::size_t count) {
    constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
    if (count > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = count * sizeof(T);
    const std::size_t unit = bytes >= 2 * kHugePage ? kHugePage : kLine;
    const std::size_t rounded = (bytes + unit - 1) / unit * unit;
    void* memory = std::aligned_alloc(unit, rounded);
    if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (unit == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);  // where it is refused all works as before
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) { std::free(memory); }
  bool operator==(const LargeAllocator&) const { return true; }
};

/// Values in memory of their own or in that of a mapped file, which the first change copies.
template <typename T>
class Column {
 public:
  Column() = default;
  Column(std::span<const T> mapped, std::shared_ptr<const void> file) : view_(mapped), file_(std::move(file)) {}
  Column(Column&&) noexcept = default;
  Column& operator=(Column&&) noexcept = default;

  const T* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }
  bool mapped() const { return file_ != nullptr; }

  void resize(std::size_t size) {
    own();
    own_.resize(size);
    view_ = own_;
  }
  T* change() {
    own();
    return own_.data();
  }

 private:
  void own() {
    if (!file_) return;
    own_.assign(view_.begin(), view_.end());
    view_ = own_;
    file_.reset();
  }

  std::vector<T, LargeAllocator<T>> own_;
  std::span<const T> view_;
  std::shared_ptr<const void> file_;
};

/// Codes of a row in memory and in files: `dim` of them and 128, which stands for 0, up to a multiple of 64.
constexpr std::size_t code_stride(std::size_t dim) { return (dim + 63) / 64 * 64; }

/// values (dim) -> codes (dim, padded with 0) of -127 to 127; a value is about code x the scale that is returned.
float quantise(std::span<const float> values, std::int8_t* codes, std::size_t stride);

/// The inner product in double, rounded once: the product of two floats is exact in double, so the order of additions
/// written here decides every bit on every processor, and finite values can neither overflow nor become NaN.
float exact_score(const double* query, const float* values, std::size_t dim);

/// Vectors in the forms that an index holds: the one that is scanned, the one that candidates are scored against, the
/// codes that a graph walks over. Some of the three, at least one.
struct Rows {
  std::size_t dim = 0;
  std::size_t count = 0;
  bool has_floats = false, has_halves = false, has_codes = false;
  Column<float> floats;        ///< (count, dim)
  Column<Half> halves;         ///< (count, dim)
  Column<std::uint8_t> codes;  ///< (count, stride), code + 128
  Column<float> scales;        ///< (count)
  double largest_norm = 0;     ///< at least that of each row

  Rows(std::size_t values, VectorType scanned, std::optional<VectorType> kept);

  std::size_t stride() const { return code_stride(dim); }
  void add(std::span<const float> values);  ///< all or nothing
  void set(std::size_t row, std::span<const float> values);
  void copy(std::size_t from, std::size_t to);
  void resize(std::size_t rows);
  /// The most exact form of a row; `buffer` (dim) is used where that is not floats.
  std::span<const float> read(std::size_t row, std::vector<float>& buffer) const;
  /// Fetches the row ahead of a `read`.
  void prefetch(std::size_t row) const;
  void note_norm(std::size_t row);
  void make_codes();  ///< of all rows, where there are none
  void drop_codes();

 private:
  template <typename Function>
  void each_column(Function function);
};

}  // namespace trine::detail
