#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trine::detail {

// What an index may hold, in memory and in a file. With these caps every size in a file stays far below 2^63.
inline constexpr std::size_t kMaxIndexDim = 65536;
inline constexpr std::size_t kMaxIndexIdBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxIndexRecords = std::size_t{1} << 32;
inline constexpr std::size_t kMaxIndexMetadataBytes = std::size_t{256} << 20;

struct IndexRecord {
  std::string_view id;
  std::span<const float> vector;  ///< (dim)
};

struct IndexContent {
  std::size_t dim = 0;
  std::vector<std::string> ids;  ///< ascending, each once
  std::vector<float> vectors;    ///< (ids, dim), finite
  std::map<std::string, std::string> metadata;
};

/// Writes the container of docs/formats.md atomically. `records` come in ascending order of id and keep the caps; too
/// much metadata is std::invalid_argument.
void write_index_file(const char* who, const std::filesystem::path& path, std::size_t dim,
                      std::span<const IndexRecord> records, const std::map<std::string, std::string>& metadata);

/// Reads it back with every size, checksum, order and value checked; takes no more memory than the file has bytes, give
/// or take a constant factor.
IndexContent read_index_file(const char* who, const std::filesystem::path& path);

}  // namespace trine::detail
