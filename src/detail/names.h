#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

/// Enumerators and their names in files, on the command line and in Python.

namespace trine::detail {

template <typename Enum, std::size_t kCount>
using Names = std::array<std::pair<Enum, std::string_view>, kCount>;

/// "unknown" for a number that is no enumerator.
template <typename Enum, std::size_t kCount>
constexpr std::string_view name_of(const Names<Enum, kCount>& names, Enum value) {
  const auto found = std::ranges::find(names, value, &std::pair<Enum, std::string_view>::first);
  return found == names.end() ? "unknown" : found->second;
}

template <typename Enum, std::size_t kCount>
constexpr std::optional<Enum> value_of(const Names<Enum, kCount>& names, std::string_view name) {
  const auto found = std::ranges::find(names, name, &std::pair<Enum, std::string_view>::second);
  return found == names.end() ? std::nullopt : std::optional<Enum>(found->first);
}

}  // namespace trine::detail
