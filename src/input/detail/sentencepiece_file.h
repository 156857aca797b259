#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace trine::detail {

/// What a SentencePiece model file (`spiece.model`, `sentencepiece.bpe.model`, `tokenizer.model`) says.
struct SentencePieceFile {
  enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };

  std::vector<Piece> pieces;
  bool byte_fallback = false;
  std::string charsmap;  ///< the compiled normalization rules; empty: text stays as it is
};

/// Reads the fields above out of the protocol buffer: bounds, UTF-8, counts, finite scores are checked, nothing nests
/// deeper than the format does, unknown fields are skipped. Errors: std::runtime_error.
SentencePieceFile parse_sentencepiece(const char* who, std::string_view bytes);

SentencePieceFile read_sentencepiece(const char* who, const std::filesystem::path& path);

}  // namespace trine::detail
