#include "detail/error.h"
#include "input/detail/model.h"
#include "input/detail/trie.h"

namespace trine::detail {

namespace {

/// Every word is one token.
class WordLevel : public Model {
 public:
  WordLevel(const char* who, const Json& json)
      : Model(Vocabulary::from_json(who, json)), trie_(Trie::of_tokens(who, vocabulary_.tokens)) {
    const auto unknown = get<std::string>(who, json, "unk_token");
    unknown_ = vocabulary_.find(unknown);
    if (unknown_ < 0) failure(who, "the unk_token ", shown(unknown), " is not in the vocabulary");
  }

  void tokenize(std::u32string_view word, std::vector<Piece>& pieces) const override {
    const std::int32_t id = trie_.find(word);
    pieces.push_back({id < 0 ? unknown_ : id, 0, word.size()});
  }

  std::string describe() const override { return "WordLevel (" + std::to_string(vocabulary_.size) + " tokens)"; }

 private:
  Trie trie_;
  std::int32_t unknown_ = 0;
};

}  // namespace

std::unique_ptr<const Model> read_word_level(const char* who, const Json& json) {
  return std::make_unique<WordLevel>(who, json);
}

}  // namespace trine::detail
