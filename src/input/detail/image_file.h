#pragma once

#include <filesystem>
#include <stdexcept>
#include <string_view>

#include "detail/error.h"
#include "detail/file.h"

namespace trine::detail {

/// decode(bytes of the picture's file); what is wrong with them is said with its name.
template <typename Decode>
auto from_image_file(const std::filesystem::path& path, std::uint64_t max_bytes, const Decode& decode) {
  const std::vector<std::byte> file = read_file("read_image", path, max_bytes);
  try {
    return decode(file);
  } catch (const std::runtime_error& error) {
    const std::string_view message = error.what();
    failure("read_image", path, ": ", message.substr(message.find("] ") + 2));
  }
}

}  // namespace trine::detail
