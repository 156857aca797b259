#pragma once

#include <cstddef>

namespace trine::detail {

/// Asks the memory for `bytes` that will be read soon. Inlined in any case: GCC takes a function that does nothing else
/// for one without effect and leaves the call away.
[[gnu::always_inline]] inline void fetch_ahead(const void* from, std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(static_cast<const char*>(from) + at);
}

}  // namespace trine::detail
