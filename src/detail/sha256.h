#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace trine::detail {

/// SHA-256 (FIPS 180-4) of what is added bit by bit.
class Sha256 {
 public:
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  /// The whole of a file, read in pieces; a file that cannot be read is refused.
  void add_file(const char* who, const std::filesystem::path& path);

  /// The sum of all that was added, 32 bytes. Nothing can be added after it.
  std::string finish();

 private:
  void process(const std::byte* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> rest_{};  ///< bytes of a block that is not full yet
  std::size_t held_ = 0;
  std::uint64_t length_ = 0;
};

/// Two lower-case hexadecimal digits for each byte.
std::string hex(std::string_view bytes);

}  // namespace trine::detail
