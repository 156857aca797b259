#include <algorithm>
#include <cmath>
#include <utility>

#include "detail/error.h"
#include "input/detail/model.h"
#include "input/detail/trie.h"
#include "input/detail/unicode.h"
#include "input/detail/word_cache.h"

namespace trine::detail {

namespace {

constexpr std::size_t kLongestToken = 512;  // characters: bounds the work at each position of a text
constexpr double kUnknownPenalty = 10;

/// The best way to cut a word up to some character.
struct Node {
  double score = 0;
  std::ptrdiff_t from = -1;  // where its last token starts
  std::int32_t id = 0;

  void offer(double other, std::size_t begin, std::int32_t token) {
    if (from < 0 || other > score) *this = {other, static_cast<std::ptrdiff_t>(begin), token};
  }
};

/// The most likely way to cut a word into tokens, each of which has a score.
class Unigram : public Model {
 public:
  Unigram(const char* who, const Json& json);
  void tokenize(std::u32string_view word, std::vector<Piece>& pieces) const override;
  std::string describe() const override;

 private:
  void add(std::u32string_view word, std::size_t begin, std::size_t end, std::vector<Piece>& pieces) const;

  std::vector<double> scores_;
  double unknown_score_ = 0;
  std::int32_t unknown_ = -1;
  bool byte_fallback_ = false;
  ByteTokens byte_tokens_{};
  Trie trie_;
  mutable WordCache cache_;
};

/// [["token", score], ...]
Vocabulary read_scored(const char* who, const Json& json, std::vector<double>& scores) {
  const auto vocab = json.find("vocab");
  if (vocab == json.end() || !vocab->is_array()) failure(who, "the model has no array \"vocab\"");
  if (vocab->empty()) failure(who, "the vocabulary is empty");
  Vocabulary out;
  out.size = vocab->size();
  for (const Json& entry : *vocab) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      failure(who, "token ", out.tokens.size(), " of the vocabulary is not a text and its score");
    }
    out.tokens.push_back(entry[0].get<std::string>());
    scores.push_back(entry[1].get<double>());
    if (!std::isfinite(scores.back())) failure(who, "the score of token ", shown(out.tokens.back()), " is not finite");
  }
  return out;
}

Unigram::Unigram(const char* who, const Json& json) : Model({}) {
  vocabulary_ = read_scored(who, json, scores_);
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  unknown_ = get_or<std::int32_t>(who, json, "unk_id", -1);
  if (unknown_ < -1 || unknown_ >= static_cast<std::int32_t>(scores_.size())) {
    failure(who, "the unk_id is ", unknown_, ", ids end at ", scores_.size() - 1);
  }
  byte_fallback_ = get_or<bool>(who, json, "byte_fallback", false);
  byte_tokens_ = find_byte_tokens(vocabulary_);
  trie_ = Trie::of_tokens(who, vocabulary_.tokens);
  for (const std::string& token : vocabulary_.tokens) {
    if (token.size() > kLongestToken && decode_utf8(who, token).size() > kLongestToken) {
      failure(who, "the token ", shown(token), " has more than ", kLongestToken, " characters");
    }
  }
}

void Unigram::tokenize(std::u32string_view word, std::vector<Piece>& pieces) const {
  if (cache_.find(word, pieces)) return;
  std::vector<Node> nodes(word.size() + 1);
  for (std::size_t at = 0; at < word.size(); ++at) {
    const double here = nodes[at].score;
    bool single = false;
    std::int32_t node = Trie::kRoot;
    for (std::size_t end = at; end < word.size();) {
      node = trie_.walk(word.substr(end, 1), node);
      if (node == Trie::kNowhere) break;
      ++end;
      const std::int32_t id = trie_.value(node);
      if (id < 0) continue;
      nodes[end].offer(scores_[static_cast<std::size_t>(id)] + here, at, id);
      single |= end == at + 1;
    }
    if (single) continue;
    if (unknown_ < 0) {
      bad_argument("Tokenizer::encode", "the vocabulary lacks the character ", shown(encode_utf8(word.substr(at, 1))),
                   " and a token for what it lacks");
    }
    nodes[at + 1].offer(unknown_score_ + here, at, unknown_);
  }

  std::vector<std::pair<std::size_t, std::size_t>> tokens;  // from the last to the first
  bool unknown = false;                                     // whether the last of them is
  for (std::size_t end = word.size(); end > 0; end = tokens.back().first) {
    const bool is_unknown = nodes[end].id == unknown_;
    const auto begin = static_cast<std::size_t>(nodes[end].from);
    if (is_unknown && unknown) {
      tokens.back().first = begin;
    } else {
      tokens.emplace_back(begin, end);
    }
    unknown = is_unknown;
  }
  const std::size_t first = pieces.size();
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) add(word, token->first, token->second, pieces);
  cache_.keep(word, pieces, first);
}

/// Neighbouring unknown characters have become one piece, which may be a token after all.
void Unigram::add(std::u32string_view word, std::size_t begin, std::size_t end, std::vector<Piece>& pieces) const {
  const auto text = word.substr(begin, end - begin);
  const std::int32_t id = trie_.find(text);
  if (id >= 0) return pieces.push_back({id, begin, end});
  const std::size_t first = pieces.size();
  if (!byte_fallback_ || !add_byte_tokens(byte_tokens_, text, begin, pieces)) {
    return pieces.push_back({unknown_, begin, end, true});
  }
  for (std::size_t i = first; i < pieces.size(); ++i) pieces[i].begin = begin, pieces[i].end = end;
}

std::string Unigram::describe() const {
  return "Unigram (" + std::to_string(vocabulary_.size) + " tokens, " +
         (unknown_ < 0 ? "none" : vocabulary_.tokens[static_cast<std::size_t>(unknown_)]) + " for unknown characters" +
         (byte_fallback_ ? ", as bytes where they have tokens)" : ")");
}

}  // namespace

std::unique_ptr<const Model> read_unigram(const char* who, const Json& json) {
  return std::make_unique<Unigram>(who, json);
}

}  // namespace trine::detail
