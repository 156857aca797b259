#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trine/export.h"

namespace trine {

/// Element types a checkpoint may hold; the names are those of the safetensors format.
enum class DType { BOOL, U8, I8, U16, I16, F16, BF16, U32, I32, F32, U64, I64, F64 };

TRINE_API std::string_view to_string(DType type);
TRINE_API std::size_t size_of(DType type);  ///< bytes of one element

/// One tensor of a checkpoint, or one to be written: row-major, little-endian, not owned.
struct TensorView {
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (const std::int64_t s : shape) n *= s;
    return n;
  }
};

/// Named tensors in safetensors files, mapped into memory. Copies share the mapping.
///
///     auto checkpoint = trine::Checkpoint::open("all-MiniLM-L6-v2");       // a directory, a file or an index.json
///     trine::TensorView w = checkpoint.at("encoder.layer.0.output.dense.weight");
///
/// Every rule of the format is checked before any tensor is given out: header size, UTF-8, unique names, known types,
/// shapes whose product does not overflow, offsets that cover the data without hole, overlap or rest.
class TRINE_API Checkpoint {
 public:
  /// `path`: a .safetensors file, a model.safetensors.index.json, or a directory that holds either (the single file wins).
  /// A directory with only .bin, .pt or .pth weights is refused with the conversion command: those formats run code.
  static Checkpoint open(const std::filesystem::path& path);

  bool contains(std::string_view name) const;
  const TensorView& at(std::string_view name) const;  ///< an unknown name is std::runtime_error and lists near ones
  std::vector<std::string> names() const;             ///< sorted
  const std::map<std::string, std::string>& metadata() const;  ///< "__metadata__" of the header, of the first shard
  const std::filesystem::path& path() const;

 private:
  struct Impl;
  explicit Checkpoint(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// Writes one safetensors file, atomically (beside, synced, renamed).
TRINE_API void save_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                                const std::map<std::string, std::string>& metadata = {});

}  // namespace trine
