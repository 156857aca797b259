#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"

namespace trine::detail {

/// One token of a word.
struct Piece {
  std::int32_t id;
  std::size_t begin, end;   ///< characters of the word
  bool as_written = false;  ///< the token is shown as those characters and not as the vocabulary has it
};

/// The tokens that a model knows, by id.
struct Vocabulary {
  std::vector<std::string> tokens;  ///< empty where an id is not used
  std::size_t size = 0;             ///< how many there are, unused ids not counted

  /// {"token": id, ...}: ids have to be unique and dense, but for a few gaps.
  static Vocabulary from_json(const char* who, const Json& model);

  /// The id of a token, -1 if there is none. Slow: for loading only.
  std::int32_t find(const std::string& token) const;
};

/// The "model" of a tokenizer.json: turns one word after the other into tokens.
class Model {
 public:
  virtual ~Model() = default;

  /// Appends the pieces of one word, which is not empty. Safe to call from several threads.
  virtual void tokenize(std::u32string_view word, std::vector<Piece>& pieces) const = 0;

  virtual std::string describe() const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  Vocabulary vocabulary_;
};

/// Reads the model of any type.
std::unique_ptr<const Model> read_model(const char* who, const Json& json);

// One for each type.
std::unique_ptr<const Model> read_bpe(const char* who, const Json& json);
std::unique_ptr<const Model> read_unigram(const char* who, const Json& json);
std::unique_ptr<const Model> read_word_level(const char* who, const Json& json);
std::unique_ptr<const Model> read_wordpiece(const char* who, const Json& json);

/// The tokens <0x00> to <0xFF> that stand for the bytes of what the vocabulary lacks; -1 where there is none.
using ByteTokens = std::array<std::int32_t, 256>;
ByteTokens find_byte_tokens(const Vocabulary& vocabulary);

/// Appends the bytes of `text` as tokens, each covering the character it is part of; false, and nothing done, if one
/// has no token. `at`: position of `text` in the word.
bool add_byte_tokens(const ByteTokens& tokens, std::u32string_view text, std::size_t at, std::vector<Piece>& pieces);

}  // namespace trine::detail
