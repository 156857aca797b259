#pragma once

#include <cstdint>
#include <optional>

#include "input/detail/byte_reader.h"

namespace trine::detail {

/// The first directory of a classic TIFF structure: the start of a TIFF file, and what EXIF blocks consist of.
class Ifd {
 public:
  static constexpr std::uint32_t kWidth = 256;
  static constexpr std::uint32_t kHeight = 257;
  static constexpr std::uint32_t kOrientation = 274;

  /// std::nullopt if `bytes` do not hold one.
  static std::optional<Ifd> first(Bytes bytes);

  /// The first value of a tag of an integer type; std::nullopt if there is no such tag or value.
  std::optional<std::uint32_t> number(std::uint32_t tag) const;

 private:
  Ifd(ByteReader reader, std::uint64_t entries, std::uint32_t count)
      : reader_(reader), entries_(entries), count_(count) {}

  ByteReader reader_;
  std::uint64_t entries_;
  std::uint32_t count_;
};

}  // namespace trine::detail
