#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "search/graph.h"
#include "search/rows.h"
#include "trine/search/index.h"

namespace trine::detail {

// What an index may hold, in memory and in a file. With these caps every size in a file stays far below 2^63.
inline constexpr std::size_t kMaxIndexDim = 65536;
inline constexpr std::size_t kMaxIndexIdBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxIndexRecords = std::size_t{1} << 32;
inline constexpr std::size_t kMaxIndexMetadataBytes = std::size_t{256} << 20;

/// What is written: the rows in the order of their ids.
struct IndexParts {
  const IndexForm& options;
  const Rows& vectors;
  std::span<const std::uint32_t> order;     ///< new row -> row, ascending by id
  std::span<const std::string* const> ids;  ///< by row
  const Graph* graph = nullptr;
  const std::map<std::string, std::string>& metadata;
};

struct IndexContent {
  IndexForm options;
  Rows vectors;                  ///< finite
  std::vector<std::string> ids;  ///< ascending, each once
  std::optional<Graph> graph;
  std::map<std::string, std::string> metadata;
};

/// Writes the container of docs/formats.md atomically, version 1 where that can hold it. The parts keep the caps; too
/// much metadata is std::invalid_argument.
void write_index_file(const char* who, const std::filesystem::path& path, const IndexParts& parts);

/// Reads it back with every size, checksum, order, value and link checked; takes no more memory than the file has
/// bytes, give or take a constant factor. `mapped`: the vectors stay in the file.
IndexContent read_index_file(const char* who, const std::filesystem::path& path, bool mapped);

}  // namespace trine::detail
