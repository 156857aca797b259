#include "input/detail/wordpiece.h"

#include <algorithm>
#include <utility>

#include "input/detail/tokenizer_part.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxGaps = 10'000;            // ids that no token has
constexpr std::size_t kMaxCharacters = 16'000'000;  // of all tokens together: the trie takes 12 bytes for each
constexpr std::int64_t kMaxCharsPerWord = 1000;     // bounds the work on one word; BERT has 100

/// The tokens by id. Ids have to be unique and dense, but for a few gaps.
std::vector<std::string> read_vocabulary(const char* who, const Json& model) {
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) failure(who, "the model has no object \"vocab\"");
  if (vocab->empty()) failure(who, "the vocabulary is empty");
  const std::size_t limit = vocab->size() + kMaxGaps;
  std::vector<std::string> tokens;
  std::vector<bool> used(limit, false);
  for (const auto& [token, value] : vocab->items()) {
    if (!holds<std::int32_t>(value) || value.get<std::int32_t>() < 0) {
      failure(who, "the id of token ", shown(token), " is not a number from 0");
    }
    const auto id = static_cast<std::size_t>(value.get<std::int32_t>());
    if (id >= limit)
      failure(who, "token ", shown(token), " has the id ", id, ", but there are only ", vocab->size(), " tokens");
    if (used[id]) failure(who, "the id ", id, " of token ", shown(token), " is that of another token, too");
    used[id] = true;
    if (tokens.size() <= id) tokens.resize(id + 1);
    tokens[id] = token;
  }
  return tokens;
}

}  // namespace

WordPiece WordPiece::from_json(const char* who, const Json& json) {
  const std::string type = part_type(who, json, "model");
  if (type != "WordPiece") unsupported_part(who, "model", type, "WordPiece");
  WordPiece model;
  model.tokens_ = read_vocabulary(who, json);
  model.size_ = json["vocab"].size();
  model.prefix_ = get<std::string>(who, json, "continuing_subword_prefix");

  const auto max_chars = get<std::int64_t>(who, json, "max_input_chars_per_word");
  if (max_chars < 0 || max_chars > kMaxCharsPerWord) {
    failure(who, "max_input_chars_per_word is ", max_chars, ", at most ", kMaxCharsPerWord, " are accepted");
  }
  model.max_chars_ = static_cast<std::size_t>(max_chars);

  const auto unknown = get<std::string>(who, json, "unk_token");
  const auto found =
      unknown.empty() ? model.tokens_.end() : std::find(model.tokens_.begin(), model.tokens_.end(), unknown);
  if (found == model.tokens_.end()) failure(who, "the unk_token ", shown(unknown), " is not in the vocabulary");
  model.unknown_ = static_cast<std::int32_t>(found - model.tokens_.begin());

  std::vector<std::pair<std::u32string, std::int32_t>> entries;
  std::size_t characters = 0;
  for (std::size_t id = 0; id < model.tokens_.size(); ++id) {
    if (model.tokens_[id].empty()) continue;
    entries.emplace_back(decode_utf8(who, model.tokens_[id]), static_cast<std::int32_t>(id));
    characters += entries.back().first.size();
    if (characters > kMaxCharacters) failure(who, "the vocabulary has more than ", kMaxCharacters, " characters");
  }
  model.trie_ = Trie(std::move(entries));
  model.continuation_ = model.trie_.walk(decode_utf8(who, model.prefix_));
  return model;
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
  return "WordPiece (" + std::to_string(size_) + " tokens, " + tokens_[static_cast<std::size_t>(unknown_)] +
         " for unknown words and those over " + std::to_string(max_chars_) + " characters, prefix " + prefix_ + ")";
}

}  // namespace trine::detail
