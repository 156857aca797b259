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
  /// How text is cut for it.
  enum class Matching {
    kGrapheme,  ///< as `tokenizers`: a grapheme of fewer than six bytes is replaced as a whole by what its shortest
                ///< known prefix becomes, otherwise each of its characters by itself
    kLongest    ///< as SentencePiece: the longest known sequence at each character
  };

  /// `charsmap`: the bytes of the model file.
  Precompiled(const char* who, std::string_view charsmap, Matching matching);

  void operator()(Normalized& text) const;

 private:
  struct Found {
    std::u32string text;
    std::size_t length;  // characters that it replaces
  };
  std::optional<Found> find(std::u32string_view key) const;
  std::vector<Change> by_grapheme(std::u32string_view text) const;
  std::vector<Change> by_longest(std::u32string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;  // each ends with a zero byte
  Matching matching_;
};

/// Bytes of base64 text, which has to be complete.
std::string decode_base64(const char* who, std::string_view text);

}  // namespace trine::detail
