#include "input/detail/model.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "input/detail/tokenizer_part.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxGaps = 10'000;  // ids that no token has

/// The type of the model; the oldest files do not name it.
std::string model_type(const char* who, const Json& json) {
  if (!json.is_object() || json.contains("type")) return part_type(who, json, "model");
  if (json.contains("merges")) return "BPE";
  if (json.contains("continuing_subword_prefix")) return "WordPiece";
  return json.contains("unk_id") ? "Unigram" : part_type(who, json, "model");
}

}  // namespace

Vocabulary Vocabulary::from_json(const char* who, const Json& model) {
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) failure(who, "the model has no object \"vocab\"");
  if (vocab->empty()) failure(who, "the vocabulary is empty");
  Vocabulary out;
  out.size = vocab->size();
  const std::size_t limit = vocab->size() + kMaxGaps;
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
    if (out.tokens.size() <= id) out.tokens.resize(id + 1);
    out.tokens[id] = token;
  }
  return out;
}

std::int32_t Vocabulary::find(const std::string& token) const {
  const auto found = token.empty() ? tokens.end() : std::find(tokens.begin(), tokens.end(), token);
  return found == tokens.end() ? -1 : static_cast<std::int32_t>(found - tokens.begin());
}

std::unique_ptr<const Model> read_model(const char* who, const Json& json) {
  const std::string type = model_type(who, json);
  if (type == "BPE") return read_bpe(who, json);
  if (type == "WordPiece") return read_wordpiece(who, json);
  if (type == "Unigram") return read_unigram(who, json);
  if (type == "WordLevel") return read_word_level(who, json);
  unsupported_part(who, "model", type, "BPE, WordPiece, Unigram or WordLevel");
}

ByteTokens find_byte_tokens(const Vocabulary& vocabulary) {
  ByteTokens out;
  out.fill(-1);
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    unsigned byte = 0;
    char exact[8];
    if (token.size() != 6 || std::sscanf(token.c_str(), "<0x%2X>", &byte) != 1) continue;
    std::snprintf(exact, sizeof exact, "<0x%02X>", byte);
    if (token == exact) out[byte] = static_cast<std::int32_t>(id);
  }
  return out;
}

bool add_byte_tokens(const ByteTokens& tokens, std::u32string_view text, std::size_t at, std::vector<Piece>& pieces) {
  const std::size_t before = pieces.size();
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char byte : encode_utf8(text.substr(i, 1))) {
      const std::int32_t id = tokens[static_cast<unsigned char>(byte)];
      if (id < 0) {
        pieces.resize(before);
        return false;
      }
      pieces.push_back({id, at + i, at + i + 1});
    }
  }
  return true;
}

}  // namespace trine::detail
