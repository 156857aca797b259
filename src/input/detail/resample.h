#pragma once

#include <cstdint>
#include <memory>

#include "detail/cpu.h"
#include "input/detail/coefficients.h"
#include "trine/input/image.h"

namespace trine::detail {

// `with`: the instructions of one kind of CPU, which this one must have; the results are the same bytes with each.

/// Makes rows as wide as there are columns in the coefficients, any number of them at a time.
class ColumnResampler {
 public:
  explicit ColumnResampler(const Coefficients& columns, Instructions with = instructions());
  ~ColumnResampler();

  /// The rows `rows` of the picture -> `out`, one after the other
  void resample(const Image& image, Span rows, std::uint8_t* out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The rows `rows` of the picture, made as wide as there are columns in `columns`.
Image resample_columns(const Image& image, const Coefficients& columns, Span rows, Instructions with = instructions());

/// The columns `columns` of the picture, made as high as there are rows in `rows`.
Image resample_rows(const Image& image, const Coefficients& rows, Span columns, Instructions with = instructions());

}  // namespace trine::detail
