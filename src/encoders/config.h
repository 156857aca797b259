#pragma once

#include <cstdint>
#include <optional>

#include "detail/error.h"
#include "detail/json.h"

/// What encoders check in a config.json before memory is taken for what it asks.

namespace trine::detail {

/// An integer from 1 to `most`; a missing key gives `fallback` where there is one and is refused otherwise.
inline std::int64_t read_size(const char* who, const Json& json, const char* key, std::int64_t most,
                              std::optional<std::int64_t> fallback = {}) {
  const auto size = fallback ? get_or(who, json, key, *fallback) : get<std::int64_t>(who, json, key);
  if (size < 1 || size > most) failure(who, "\"", key, "\" is ", size, ", wanted 1 to ", most);
  return size;
}

/// Refuses a network of more weights than `most`, counted as a real number: the product of sizes may be vast.
inline void check_weights(const char* who, double weights, double most = 2e9) {
  if (weights > most) failure(who, "the sizes ask for ", weights, " weights, at most ", most, " are accepted");
}

}  // namespace trine::detail
