#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "input/detail/normalized.h"

namespace trine::detail {

/// The character map of a SentencePiece model, "Precompiled" in a tokenizer.json: a double array that finds UTF-8
/// sequences, and the texts that replace them.
class Precompiled {
 public:
  /// `charsmap`: the bytes of the model file.
  Precompiled(const char* who, std::string_view charsmap);

  /// As the reference does: a grapheme of fewer than six bytes is replaced as a whole by what its shortest known prefix
  /// becomes, otherwise each of its characters by itself.
  void operator()(Normalized& text) const;

 private:
  std::optional<std::string_view> find(std::string_view key) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;  // each ends with a zero byte
};

/// Bytes of base64 text, which has to be complete.
std::string decode_base64(const char* who, std::string_view text);

}  // namespace trine::detail
