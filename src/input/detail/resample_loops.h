// The loops of resample.cpp, which includes this once for each kind of machine, after what differs between them: what
// one step takes (Block) and where it adds (Parts), the form of its weights (split), the step (add), how sums become
// bytes (store) and go to their rows (spread), and how blocks are made of neighbouring pixels (pack_pixels) and of rows
// (pack_rows): no include guard, no namespace of its own.

/// Row `row` of kRows into so many blocks. `readable`: bytes from `in` on; where they end blocks may hold anything.
inline void pack_row(const std::uint8_t* in, std::size_t readable, int row, StoredBlock* stored, int blocks) {
  auto* to = reinterpret_cast<Block*>(stored);
  const int whole = readable < kLanes ? 0 : static_cast<int>((readable - kLanes) / (3 * kTaps)) + 1;
  int b = 0;
  for (; b < blocks && b < whole; ++b, in += 3 * kTaps) pack_pixels(in, row, to[b]);
  for (; b < blocks; ++b, in += 3 * kTaps) {
    std::uint8_t end[kLanes] = {};
    std::memcpy(end, in, readable - static_cast<std::size_t>(b) * 3 * kTaps);
    pack_pixels(end, row, to[b]);
  }
}

/// `targets` pixels in each of kRows rows, each from `each` blocks, of which blocks[] is the first.
inline void make_columns(const StoredBlock* stored, const int* blocks, int targets, const Taps* steps, int each,
                         std::uint8_t* const* rows) {
  const auto* from = reinterpret_cast<const Block*>(stored);
  for (int x = 0; x < targets; x += kTogether) {
    std::uint8_t made[kTogether * kLanes];  // of each target the colours in each row, four bytes each
    const int count = targets - x < kTogether ? targets - x : kTogether;
    for (int t = 0; t < count; ++t) {
      Parts parts{};
      for (int b = 0; b < each; ++b) add(parts, from[blocks[x + t] + b], *steps++);
      store(parts, made + t * kLanes);
    }
    if (3 * x + kLanes <= 3 * targets) {
      spread(made, rows, 3 * x);  // writes kLanes bytes, the last of which are overwritten
      continue;
    }
    for (int t = 0; t < count; ++t) {
      for (int r = 0; r < kRows; ++r) std::memcpy(rows[r] + 3 * (x + t), made + t * kLanes + 4 * r, 3);
    }
  }
}

/// One row of `bytes` bytes, a multiple of kLanes, from kTaps rows for each step.
inline void make_row(const std::uint8_t* const* rows, const Taps* steps, std::size_t count, std::size_t bytes,
                     std::uint8_t* out) {
  for (std::size_t i = 0; i < bytes; i += kLanes) {
    Parts parts{};
    for (std::size_t k = 0; k < count; ++k) {
      Block block;
      pack_rows(rows + k * kTaps, i, block);
      add(parts, block, steps[k]);
    }
    store(parts, out + i);
  }
}

constexpr Loops kLoops{split, pack_row, make_columns, make_row};
