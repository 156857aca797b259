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

/// The epsilon of a norm.
inline double read_epsilon(const char* who, const Json& json, const char* key, double fallback) {
  const double eps = get_or(who, json, key, fallback);
  if (!(eps > 0 && eps < 0.1)) failure(who, "\"", key, "\" is ", eps, ", wanted above 0 and below 0.1");
  return eps;
}

/// Refuses attention heads that do not divide the hidden size.
inline void check_heads(const char* who, const char* heads_key, std::int64_t heads, const char* size_key,
                        std::int64_t size) {
  if (size % heads != 0)
    failure(who, "\"", heads_key, "\" is ", heads, ", which does not divide ", size_key, " ", size);
}

/// Refuses a network of more weights than `most`, counted as a real number: the product of sizes may be vast.
inline void check_weights(const char* who, double weights, double most = 2e9) {
  if (weights > most) failure(who, "the sizes ask for ", weights, " weights, at most ", most, " are accepted");
}

}  // namespace trine::detail
