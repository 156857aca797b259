#pragma once

#include <cstdint>
#include <string_view>

#include "detail/error.h"
#include "detail/file.h"

namespace trine::detail {

/// A picture that cannot or may not be decoded.
template <typename... Parts>
[[noreturn]] void bad_image(const Parts&... parts) {
  failure("decode_image", parts...);
}

/// Numbers out of the bytes of a hostile file: nothing beyond the end is ever read.
class ByteReader {
 public:
  enum class Order { little, big };

  ByteReader(Bytes bytes, Order order) : bytes_(bytes), order_(order) {}

  std::uint64_t size() const { return bytes_.size(); }

  bool has(std::uint64_t offset, std::uint64_t count) const {
    return offset <= bytes_.size() && count <= bytes_.size() - offset;
  }

  Bytes slice(std::uint64_t offset, std::uint64_t count) const {
    if (!has(offset, count)) {
      bad_image("the file ends too early: wanted ", count, " bytes at ", offset, ", it has ", bytes_.size());
    }
    return bytes_.subspan(offset, count);
  }

  bool starts_with(std::string_view text, std::uint64_t offset = 0) const {
    return has(offset, text.size()) &&
           std::string_view(reinterpret_cast<const char*>(bytes_.data()) + offset, text.size()) == text;
  }

  std::uint32_t u8(std::uint64_t offset) const { return number(offset, 1); }
  std::uint32_t u16(std::uint64_t offset) const { return number(offset, 2); }
  std::uint32_t u24(std::uint64_t offset) const { return number(offset, 3); }
  std::uint32_t u32(std::uint64_t offset) const { return number(offset, 4); }

 private:
  std::uint32_t number(std::uint64_t offset, std::uint32_t count) const {
    const Bytes bytes = slice(offset, count);
    std::uint32_t value = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      value = value << 8 | static_cast<std::uint32_t>(bytes[order_ == Order::big ? i : count - 1 - i]);
    }
    return value;
  }

  Bytes bytes_;
  Order order_;
};

}  // namespace trine::detail
