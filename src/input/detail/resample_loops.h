// The loops of resample.cpp, which includes this once for each kind of machine after it has said how sixteen bytes
// become Sums (widened) and how Sums from 0 to 255 become bytes (narrow): no include guard, no namespace of its own.

inline void store_clipped(const Sums& sums, std::uint8_t* out) {
  Sums value = sums >> kPrecision;
  value = value < 0 ? Sums{} : value;
  value = value > 255 ? Sums{} + 255 : value;
  narrow(value, out);
}

/// `packed`: for each source pixel its colours in four rows, four bytes each. `out`: the same for each target pixel.
inline void columns_of(const std::uint8_t* packed, const Span* windows, std::size_t targets,
                       const std::int32_t* weights, std::size_t stride, std::uint8_t* out) {
  for (std::size_t x = 0; x < targets; ++x) {
    const std::uint8_t* in = packed + static_cast<std::ptrdiff_t>(windows[x].first) * kLanes;
    Sums sums = Sums{} + kHalf;
    for (int k = 0; k < windows[x].count; ++k) add_weighted(sums, in + k * kLanes, weights[x * stride + k]);
    store_clipped(sums, out + x * kLanes);
  }
}

/// `count` rows of `bytes` bytes, a multiple of kLanes, `stride` apart, to one.
inline void row_of(const std::uint8_t* in, std::size_t stride, const std::int32_t* weights, int count,
                   std::size_t bytes, std::uint8_t* out) {
  for (std::size_t i = 0; i < bytes; i += kLanes) {
    Sums sums = Sums{} + kHalf;
    for (int k = 0; k < count; ++k) add_weighted(sums, in + static_cast<std::size_t>(k) * stride + i, weights[k]);
    store_clipped(sums, out + i);
  }
}
