#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace trine::detail {

using Json = nlohmann::ordered_json;

/// Limits on a JSON text that comes from a file: checked while it is read, before anything is built from it.
struct JsonLimits {
  std::uint64_t max_bytes = 64u << 20;   ///< bytes of text
  std::uint64_t max_values = 4'000'000;  ///< numbers, strings, objects, arrays...: each costs far more memory than text
  int max_depth = 64;                    ///< nested objects and arrays
  bool unique_keys = false;              ///< refuse an object that names a key twice (otherwise the last one holds)
};

/// Parses UTF-8 JSON; `what` names the text in error messages ("config.json").
Json parse_json(const char* who, std::string_view text, std::string_view what, const JsonLimits& limits = {});

/// Reads and parses a JSON file.
Json read_json(const char* who, const std::filesystem::path& path, const JsonLimits& limits = {});

/// Calls `take` with every line of a JSON-lines file of at most `max_bytes` that is not blank, its place for error
/// messages ("x.jsonl, line 3") and its number, from 1.
void read_json_lines(const char* who, const std::filesystem::path& path, std::uint64_t max_bytes,
                     const std::function<void(const Json& json, const std::string& place, std::size_t line)>& take);

/// The value at `key` as T; a missing key or another type is refused by name.
template <typename T>
T get(const char* who, const Json& object, const char* key);

/// The same with a default for a key that is missing or null.
template <typename T>
T get_or(const char* who, const Json& object, const char* key, T fallback);

/// Text from a file for an error message: in quotes, shortened, without control characters.
std::string shown(std::string_view text);

[[noreturn]] void bad_json_key(const char* who, const char* key, const Json* found);

template <typename T>
constexpr bool kIsVector = false;
template <typename T>
constexpr bool kIsVector<std::vector<T>> = true;

/// Whether `value` is a T without loss: nlohmann turns 1.5 into 1 and 2^32 into 0 where an int is asked for.
template <typename T>
bool holds(const Json& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    if (value.is_number_unsigned()) return std::in_range<T>(value.template get<std::uint64_t>());
    return value.is_number_integer() && std::in_range<T>(value.template get<std::int64_t>());
  } else if constexpr (std::is_floating_point_v<T>) {
    return value.is_number();
  } else if constexpr (kIsVector<T>) {
    if (!value.is_array()) return false;
    for (const Json& element : value) {
      if (!holds<typename T::value_type>(element)) return false;
    }
    return true;
  } else {
    return true;  // the conversion itself checks
  }
}

template <typename T>
T get(const char* who, const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end()) bad_json_key(who, key, nullptr);
  if (!holds<T>(*found)) bad_json_key(who, key, &*found);
  try {
    return found->template get<T>();
  } catch (const nlohmann::json::exception&) {
    bad_json_key(who, key, &*found);
  }
}

template <typename T>
T get_or(const char* who, const Json& object, const char* key, T fallback) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() || found->is_null() ? fallback : get<T>(who, object, key);
}

}  // namespace trine::detail
