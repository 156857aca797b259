#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"
#include "input/detail/trie.h"

namespace trine::detail {

/// "WordPiece" model of a tokenizer.json: the longest piece of the vocabulary, then the longest continuation, and so
/// on; a word that cannot be covered is unknown as a whole.
class WordPiece {
 public:
  struct Piece {
    std::int32_t id;
    std::size_t begin, end;  ///< characters of the word
  };

  /// `json`: the "model" of the file.
  static WordPiece from_json(const char* who, const Json& json);

  /// Appends the pieces of one word, which is not empty.
  void tokenize(std::u32string_view word, std::vector<Piece>& pieces) const;

  /// The token of each id; empty where an id is not used.
  const std::vector<std::string>& tokens() const { return tokens_; }

  /// How many tokens the vocabulary holds, unused ids not counted.
  std::size_t size() const { return size_; }

  std::string describe() const;

 private:
  std::vector<std::string> tokens_;
  std::size_t size_ = 0;
  Trie trie_;
  std::int32_t continuation_ = Trie::kNowhere;  // the node of the prefix of continuing pieces
  std::int32_t unknown_ = 0;
  std::string prefix_;
  std::size_t max_chars_ = 0;
};

}  // namespace trine::detail
