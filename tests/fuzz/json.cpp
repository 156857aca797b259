#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "detail/json.h"

/// Any text is refused with a sentence or is a value that can be written again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    trine::detail::parse_json("fuzz", {reinterpret_cast<const char*>(data), size}, "the text").dump();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
