#include <utility>

#include "detail/error.h"
#include "input/detail/model.h"
#include "input/detail/trie.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::int64_t kMaxCharsPerWord = 1000;  // bounds the work on one word; BERT has 100

/// The longest piece of the vocabulary, then the longest continuation, and so on; a word that cannot be covered is
/// unknown as a whole.
class WordPiece : public Model {
 public:
  WordPiece(const char* who, const Json& json);
  void tokenize(std::u32string_view word, std::vector<Piece>& pieces) const override;
  std::string describe() const override;

 private:
  Trie trie_;
  std::int32_t continuation_ = Trie::kNowhere;  // the node of the prefix of continuing pieces
  std::int32_t unknown_ = 0;
  std::string prefix_;
  std::size_t max_chars_ = 0;
};

WordPiece::WordPiece(const char* who, const Json& json) : Model(Vocabulary::from_json(who, json)) {
  prefix_ = get<std::string>(who, json, "continuing_subword_prefix");
  const auto max_chars = get<std::int64_t>(who, json, "max_input_chars_per_word");
  if (max_chars < 0 || max_chars > kMaxCharsPerWord) {
    failure(who, "max_input_chars_per_word is ", max_chars, ", at most ", kMaxCharsPerWord, " are accepted");
  }
  max_chars_ = static_cast<std::size_t>(max_chars);
  const auto unknown = get<std::string>(who, json, "unk_token");
  unknown_ = vocabulary_.find(unknown);
  if (unknown_ < 0) failure(who, "the unk_token ", shown(unknown), " is not in the vocabulary");
  trie_ = Trie::of_tokens(who, vocabulary_.tokens);
  continuation_ = trie_.walk(decode_utf8(who, prefix_));
}

void WordPiece::tokenize(std::u32string_view word, std::vector<Piece>& pieces) const {
  const std::size_t before = pieces.size();
  const auto give_up = [&] {
    pieces.resize(before);
    pieces.push_back({unknown_, 0, word.size()});
  };
  if (word.size() > max_chars_) return give_up();
  for (std::size_t at = 0; at < word.size();) {
    const Trie::Match match = trie_.longest(word.substr(at), at == 0 ? Trie::kRoot : continuation_);
    if (match.value < 0) return give_up();
    pieces.push_back({match.value, at, at + match.length});
    at += match.length;
  }
}

std::string WordPiece::describe() const {
  return "WordPiece (" + std::to_string(vocabulary_.size) + " tokens, " +
         vocabulary_.tokens[static_cast<std::size_t>(unknown_)] + " for unknown words and those over " +
         std::to_string(max_chars_) + " characters, prefix " + prefix_ + ")";
}

}  // namespace

std::unique_ptr<const Model> read_wordpiece(const char* who, const Json& json) {
  return std::make_unique<WordPiece>(who, json);
}

}  // namespace trine::detail
