#include <algorithm>
#include <queue>
#include <tuple>
#include <utility>

#include "detail/error.h"
#include "input/detail/model.h"
#include "input/detail/trie.h"
#include "input/detail/unicode.h"
#include "input/detail/word_cache.h"

namespace trine::detail {

namespace {

constexpr std::int32_t kNone = -1;

/// Pairs of tokens that become one, the most important ones first.
class Merges {
 public:
  struct Merge {
    std::int32_t left, right, rank, id;
  };

  Merges() = default;

  /// Of equal pairs the last one counts.
  explicit Merges(std::vector<Merge> merges, std::size_t ids) : merges_(std::move(merges)), first_(ids + 1) {
    const auto key = [](const Merge& merge) { return std::pair(merge.left, merge.right); };
    std::sort(merges_.begin(), merges_.end(), [&](const Merge& a, const Merge& b) {
      return std::tuple(key(a), -a.rank) < std::tuple(key(b), -b.rank);
    });
    merges_.erase(
        std::unique(merges_.begin(), merges_.end(), [&](const Merge& a, const Merge& b) { return key(a) == key(b); }),
        merges_.end());
    for (const Merge& merge : merges_) ++first_[static_cast<std::size_t>(merge.left) + 1];
    for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  }

  const Merge* find(std::int32_t left, std::int32_t right) const {
    const Merge* begin = merges_.data() + first_[static_cast<std::size_t>(left)];
    const Merge* end = merges_.data() + first_[static_cast<std::size_t>(left) + 1];
    const Merge* found =
        std::lower_bound(begin, end, right, [](const Merge& merge, std::int32_t value) { return merge.right < value; });
    return found != end && found->right == right ? found : nullptr;
  }

  std::size_t size() const { return merges_.size(); }

 private:
  std::vector<Merge> merges_;       // sorted by left, then right
  std::vector<std::size_t> first_;  // where those of each left id start
};

/// A token in the making: a link of the chain that a word is.
struct Symbol {
  std::int32_t id;
  std::int32_t previous, next;  // kNone at the ends
  std::size_t bytes;            // of the word's UTF-8; 0: joined to another one
};

/// Joins neighbours, the pair with the lowest rank first, of equal ones the leftmost: n log n.
void merge_all(std::vector<Symbol>& symbols, const Merges& merges) {
  struct Candidate {
    std::int32_t rank, position, id;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, position) > std::pair(other.rank, other.position);
    }
  };
  const auto symbol = [&](std::int32_t at) -> Symbol& { return symbols[static_cast<std::size_t>(at)]; };
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    const auto* merge = merges.find(symbols[i].id, symbols[i + 1].id);
    if (merge != nullptr) candidates.push_back({merge->rank, static_cast<std::int32_t>(i), merge->id});
  }
  std::priority_queue queue(std::greater<Candidate>{}, std::move(candidates));
  const auto consider = [&](std::int32_t left, std::int32_t right) {
    if (left == kNone || right == kNone) return;
    const auto* merge = merges.find(symbol(left).id, symbol(right).id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->id});
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbol(top.position);
    if (left.bytes == 0 || left.next == kNone) continue;
    Symbol& right = symbol(left.next);
    const auto* merge = merges.find(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;  // one of them has been joined to another one meanwhile
    left.id = top.id;
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next != kNone) symbol(left.next).previous = top.position;
    consider(left.previous, top.position);
    consider(top.position, left.next);
  }
}

/// Byte pair encoding: characters, then merges in the order in which they were learned.
class Bpe : public Model {
 public:
  Bpe(const char* who, const Json& json);
  void tokenize(std::u32string_view word, std::vector<Piece>& pieces) const override;
  std::string describe() const override;

 private:
  void read_merges(const char* who, const Json& json);
  std::vector<Symbol> read_symbols(std::u32string_view word) const;

  Trie trie_;
  Merges merges_;
  std::u32string prefix_, suffix_;  // of characters that do not begin a word, and of the one that ends it
  std::int32_t continuation_ = Trie::kRoot;
  std::string unknown_token_;
  std::int32_t unknown_ = kNone;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
  ByteTokens byte_tokens_{};
  mutable WordCache cache_;
};

Bpe::Bpe(const char* who, const Json& json) : Model(Vocabulary::from_json(who, json)) {
  if (get_or<double>(who, json, "dropout", 0) != 0) {
    failure(who, "the model drops merges at random (dropout); wanted none: the same text has to give the same tokens");
  }
  trie_ = Trie::of_tokens(who, vocabulary_.tokens);
  prefix_ = decode_utf8(who, get_or<std::string>(who, json, "continuing_subword_prefix", ""));
  suffix_ = decode_utf8(who, get_or<std::string>(who, json, "end_of_word_suffix", ""));
  continuation_ = trie_.walk(prefix_);
  unknown_token_ = get_or<std::string>(who, json, "unk_token", "");
  unknown_ = vocabulary_.find(unknown_token_);
  fuse_unknown_ = get_or<bool>(who, json, "fuse_unk", false);
  byte_fallback_ = get_or<bool>(who, json, "byte_fallback", false);
  ignore_merges_ = get_or<bool>(who, json, "ignore_merges", false);
  byte_tokens_ = find_byte_tokens(vocabulary_);
  read_merges(who, json);
}

/// Each merge is "left right" or ["left", "right"].
void Bpe::read_merges(const char* who, const Json& json) {
  const auto list = json.find("merges");
  if (list == json.end() || !list->is_array()) failure(who, "the model has no array \"merges\"");
  std::vector<Merges::Merge> merges;
  merges.reserve(list->size());
  const auto id_of = [&](std::u32string_view token, std::size_t number) {
    const std::int32_t id = trie_.find(token);
    if (id < 0) {
      failure(who, "the token ", shown(encode_utf8(token)), " of merge ", number, " is not in the vocabulary");
    }
    return id;
  };
  for (const Json& entry : *list) {
    const std::size_t number = merges.size();
    std::string left, right;
    if (entry.is_string()) {
      const auto& line = entry.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      const std::size_t space = line.find(' ');
      if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
        failure(who, "merge ", number, " is ", shown(line), ", wanted two tokens and a space between");
      }
      left = line.substr(0, space), right = line.substr(space + 1);
    } else if (holds<std::vector<std::string>>(entry) && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      left = entry[0].get<std::string>(), right = entry[1].get<std::string>();
    } else {
      failure(who, "merge ", number, " is neither a text nor a list of two");
    }
    const auto first = decode_utf8(who, left), second = decode_utf8(who, right);
    if (second.size() < prefix_.size()) {
      failure(who, "the token ", shown(right), " of merge ", number,
              " is shorter than the prefix of continuing tokens");
    }
    merges.push_back({id_of(first, number), id_of(second, number), static_cast<std::int32_t>(number),
                      id_of(first + second.substr(prefix_.size()), number)});
  }
  merges_ = Merges(std::move(merges), vocabulary_.tokens.size());
}

std::vector<Symbol> Bpe::read_symbols(std::u32string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  const auto add = [&](std::int32_t id, std::size_t bytes) {
    const auto at = static_cast<std::int32_t>(symbols.size());
    if (at > 0) symbols.back().next = at;
    symbols.push_back({id, at - 1, kNone, bytes});
  };
  std::size_t unknown_bytes = 0;  // of characters that wait to become the unknown token
  const auto flush = [&] {
    if (unknown_bytes > 0) add(unknown_, unknown_bytes);
    unknown_bytes = 0;
  };
  std::vector<Piece> byte_pieces;
  for (std::size_t i = 0; i < word.size(); ++i) {
    std::int32_t node = trie_.walk(word.substr(i, 1), i == 0 ? Trie::kRoot : continuation_);
    if (i + 1 == word.size()) node = trie_.walk(suffix_, node);
    const std::size_t bytes = utf8_size(word[i]);
    if (const std::int32_t id = trie_.value(node); id >= 0) {
      flush();
      add(id, bytes);
      continue;
    }
    byte_pieces.clear();
    if (byte_fallback_ && add_byte_tokens(byte_tokens_, word.substr(i, 1), i, byte_pieces)) {
      for (const Piece& piece : byte_pieces) add(piece.id, 1);
      continue;
    }
    if (unknown_token_.empty()) continue;
    if (unknown_ == kNone) {
      bad_argument("Tokenizer::encode", "the vocabulary lacks the character ", shown(encode_utf8(word.substr(i, 1))),
                   " and the token ", shown(unknown_token_), " for what it lacks");
    }
    if (!fuse_unknown_) flush();
    unknown_bytes += bytes;
  }
  flush();
  return symbols;
}

void Bpe::tokenize(std::u32string_view word, std::vector<Piece>& pieces) const {
  if (ignore_merges_) {
    if (const std::int32_t id = trie_.find(word); id >= 0) return pieces.push_back({id, 0, word.size()});
  }
  if (cache_.find(word, pieces)) return;
  const std::size_t first = pieces.size();
  std::vector<Symbol> symbols = read_symbols(word);
  merge_all(symbols, merges_);
  // Positions are sums of bytes, as in the reference: characters without a token move those that follow them.
  std::size_t at = 0, at_bytes = 0, bytes = 0;  // a character, where it starts, and where the next token does
  const auto advance = [&](std::size_t to) {
    while (at + 1 < word.size() && at_bytes + utf8_size(word[at]) <= to) at_bytes += utf8_size(word[at++]);
    return at;
  };
  for (const Symbol& symbol : symbols) {
    if (symbol.bytes == 0) continue;
    const std::size_t begin = advance(bytes);
    bytes += symbol.bytes;
    pieces.push_back({symbol.id, begin, advance(bytes - 1) + 1});
  }
  cache_.keep(word, pieces, first);
}

std::string Bpe::describe() const {
  std::string text =
      "BPE (" + std::to_string(vocabulary_.size) + " tokens, " + std::to_string(merges_.size()) + " merges";
  if (!prefix_.empty()) text += ", prefix " + encode_utf8(prefix_);
  if (!suffix_.empty()) text += ", suffix " + encode_utf8(suffix_);
  if (byte_fallback_) text += ", unknown characters as bytes";
  if (!unknown_token_.empty()) text += ", " + unknown_token_ + " for unknown characters";
  if (ignore_merges_) text += ", whole words first";
  return text + ")";
}

}  // namespace

std::unique_ptr<const Model> read_bpe(const char* who, const Json& json) { return std::make_unique<Bpe>(who, json); }

}  // namespace trine::detail
