#include "input/detail/ifd.h"

namespace trine::detail {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kEntryBytes = 12;  // tag, type (u16 each), count, value or offset (u32 each)

/// Bytes of one value of an integer type, 0 for the other types.
std::uint32_t integer_size(std::uint32_t type) {
  switch (type) {
    case 1:
      return 1;  // BYTE
    case 3:
      return 2;  // SHORT
    case 4:
      return 4;  // LONG
    default:
      return 0;
  }
}

}  // namespace

std::optional<Ifd> Ifd::first(Bytes bytes) {
  ByteReader reader(bytes, ByteReader::Order::little);
  if (reader.starts_with("MM\0*"sv)) {
    reader = ByteReader(bytes, ByteReader::Order::big);
  } else if (!reader.starts_with("II*\0"sv)) {
    return std::nullopt;
  }
  if (!reader.has(4, 4)) return std::nullopt;
  const std::uint64_t start = reader.u32(4);
  if (!reader.has(start, 2)) return std::nullopt;
  const std::uint32_t count = reader.u16(start);
  if (!reader.has(start + 2, count * kEntryBytes)) return std::nullopt;
  return Ifd(reader, start + 2, count);
}

std::optional<std::uint32_t> Ifd::number(std::uint32_t tag) const {
  for (std::uint32_t i = 0; i < count_; ++i) {
    const std::uint64_t entry = entries_ + i * kEntryBytes;
    if (reader_.u16(entry) != tag) continue;
    const std::uint64_t size = integer_size(reader_.u16(entry + 2));
    const std::uint64_t count = reader_.u32(entry + 4);
    if (size == 0 || count == 0) return std::nullopt;
    const std::uint64_t offset = size * count <= 4 ? entry + 8 : reader_.u32(entry + 8);
    if (!reader_.has(offset, size)) return std::nullopt;
    return size == 1 ? reader_.u8(offset) : size == 2 ? reader_.u16(offset) : reader_.u32(offset);
  }
  return std::nullopt;
}

}  // namespace trine::detail
