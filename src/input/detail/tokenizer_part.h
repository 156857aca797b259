#pragma once

#include <string>

#include "detail/error.h"
#include "detail/json.h"

namespace trine::detail {

/// The "type" of a part of a tokenizer.json ("normalizer", "model"...).
inline std::string part_type(const char* who, const Json& json, const char* part) {
  if (!json.is_object() || !json.contains("type")) failure(who, "the file has no ", part, " with a type");
  return get<std::string>(who, json, "type");
}

/// The parts of a "Sequence".
inline const Json& part_list(const char* who, const Json& json, const char* key) {
  const auto list = json.find(key);
  if (list == json.end() || !list->is_array()) failure(who, "a Sequence has no array \"", key, "\"");
  return *list;
}

[[noreturn]] inline void unsupported_part(const char* who, const char* part, const std::string& type,
                                          const char* wanted) {
  failure(who, "the ", part, ' ', shown(type), " is not supported; wanted ", wanted);
}

}  // namespace trine::detail
