#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "detail/json.h"
#include "trine/apps/catalogue.h"

/// Products in files: lines of a catalogue, and the catalogue inside an index.

namespace trine::detail {

inline constexpr std::uint64_t kMaxCatalogueBytes = 256u << 20;
inline constexpr std::uint64_t kMaxCatalogueValues = 40'000'000;  ///< of the JSON in an index
inline constexpr char kIdEnd = '\n';  ///< between a product's id and what of it a vector shows

/// std::invalid_argument for an id that is empty, not one line or not UTF-8, and for an empty title.
void check_product(const char* who, const Product& product);

/// `place` names it for error messages, paths are relative to `folder`. Errors: std::runtime_error.
Product product_of(const char* who, const Json& json, const std::string& place, const std::filesystem::path& folder);

/// All of it, so that `product_of` with an empty folder gives it back.
Json json_of(const Product& product);

}  // namespace trine::detail
