#include "input/detail/tokenizer_draft.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "detail/error.h"
#include "detail/file.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::uint64_t kMaxTextBytes = 64u << 20;

/// The lines of a text; a line end after the last one begins no further line.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string without_trailing_space(const char* who, std::string_view line) {
  std::u32string text;
  try {
    text = decode_utf8(who, line);
  } catch (const std::invalid_argument&) {
    failure(who, "a line of vocab.txt is not valid UTF-8: ", shown(line));
  }
  while (!text.empty() && is_whitespace(text.back())) text.pop_back();
  return encode_utf8(text);
}

/// A further pair, whose key is new: the ordinary way looks through all of the others.
void append(Json& object, const std::string& key, Json value) {
  auto& pairs = object.get_ref<Json::object_t&>();
  pairs.Json::object_t::Container::emplace_back(key, std::move(value));
}

/// A special token is a text or an object.
std::string content_of(const char* who, const Json& token) {
  return token.is_string() ? token.get<std::string>() : get<std::string>(who, token, "content");
}

}  // namespace

Json read_json_if_there(const char* who, const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) ? read_json(who, path) : Json();
}

TokenizerDraft::TokenizerDraft(const char* who, std::filesystem::path directory, const Json& config)
    : who_(who), directory_(std::move(directory)), config_(config.is_null() ? Json::object() : config) {
  if (!config_.is_object()) failure(who_, "the tokenizer_config.json is not an object");
  if (!config_.contains("added_tokens_decoder")) {
    special_ = read_json_if_there(who_, directory_ / "special_tokens_map.json");
  }
}

std::int64_t TokenizerDraft::number(const char* key, std::int64_t fallback, std::int64_t most) const {
  const auto value = get_or(who_, config_, key, fallback);
  if (value < 0 || value > most) failure(who_, "\"", key, "\" is ", value, ", 0 to ", most, " are accepted");
  return value;
}

void TokenizerDraft::refuse(const char* why) const { failure(who_, why); }

void TokenizerDraft::read_word_list() {
  const std::string text = read_text(who_, directory_ / "vocab.txt", kMaxTextBytes);
  std::int32_t id = 0;
  for (const std::string_view line : lines_of(text)) ids_[without_trailing_space(who_, line)] = id++;
  Json vocab = Json::object();
  for (const auto& [token, at] : ids_) append(vocab, token, at);
  next_id_ = static_cast<std::int32_t>(ids_.size());
  set("model", {{"type", "WordPiece"},
                {"unk_token", token("unk_token")},
                {"continuing_subword_prefix", "##"},
                {"max_input_chars_per_word", 100},
                {"vocab", std::move(vocab)}});
}

void TokenizerDraft::read_merges(const Json& options) {
  Json vocab = read_json(who_, directory_ / "vocab.json", {.unique_keys = true});
  if (!vocab.is_object()) failure(who_, "vocab.json is not an object of tokens and ids");
  const std::string text = read_text(who_, directory_ / "merges.txt", kMaxTextBytes);
  Json merges = Json::array();
  for (const std::string_view line : lines_of(text)) merges.push_back(line);
  for (const auto& [token, id] : vocab.items()) {
    if (holds<std::int32_t>(id)) ids_[token] = id.get<std::int32_t>();
  }
  next_id_ = static_cast<std::int32_t>(vocab.size());
  Json model = {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  model.update(options);
  set("model", std::move(model));
}

const SentencePieceFile& TokenizerDraft::read_sentencepiece() {
  for (const char* name : {"sentencepiece.bpe.model", "spiece.model", "tokenizer.model"}) {
    std::error_code error;
    if (!std::filesystem::exists(directory_ / name, error)) continue;
    sentencepiece_ = detail::read_sentencepiece(who_, directory_ / name);
    return sentencepiece_;
  }
  missing_file(who_, directory_ / "tokenizer.json");
}

void TokenizerDraft::use_unigram(const std::vector<std::pair<std::string, double>>& pieces, std::int32_t unknown,
                                 bool byte_fallback) {
  Json vocab = Json::array();
  for (const auto& [piece, score] : pieces) {
    ids_[piece] = static_cast<std::int32_t>(vocab.size());
    vocab.push_back(Json::array({piece, score}));
  }
  next_id_ = static_cast<std::int32_t>(vocab.size());
  set("model",
      {{"type", "Unigram"}, {"unk_id", unknown}, {"byte_fallback", byte_fallback}, {"vocab", std::move(vocab)}});
}

/// Any two pieces that make up a third one are a merge; those of an earlier piece, then with a shorter left half first.
void TokenizerDraft::use_bpe(const Json& options) {
  Json vocab = Json::object(), merges = Json::array();
  std::int32_t id = 0;
  for (const auto& piece : sentencepiece_.pieces) ids_[piece.text] = id++;
  id = 0;
  for (const auto& piece : sentencepiece_.pieces) {
    if (ids_.at(piece.text) != id++) continue;  // a later one has the same text
    append(vocab, piece.text, id - 1);
    for (std::size_t at = 1; at < piece.text.size(); ++at) {
      if ((piece.text[at] & 0xC0) == 0x80) continue;  // in the middle of a character
      std::string left = piece.text.substr(0, at), right = piece.text.substr(at);
      if (ids_.contains(left) && ids_.contains(right)) merges.push_back(Json::array({left, right}));
    }
  }
  next_id_ = static_cast<std::int32_t>(vocab.size());
  Json model = {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  model.update(options);
  set("model", std::move(model));
}

void TokenizerDraft::name_tokens(const Roles& roles) {
  for (const auto& [role, fallback] : roles) {
    Json token = fallback;
    for (const Json* source : {&config_, &special_}) {  // the latter holds
      const auto found = source->is_object() ? source->find(role) : source->end();
      if (found != source->end() && !found->is_null()) token = *found;
    }
    names_[role] = content_of(who_, token);
    roles_.emplace_back(role, std::move(token));
  }
}

void TokenizerDraft::add_tokens(bool of_model) {
  if (const auto list = config_.find("added_tokens_decoder"); list != config_.end() && list->is_object()) {
    std::map<std::int64_t, const Json*> by_id;
    for (const auto& [id, token] : list->items()) by_id[std::strtoll(id.c_str(), nullptr, 10)] = &token;
    for (const auto& [id, token] : by_id) add_token(*token, get_or<bool>(who_, *token, "special", false));
  } else {
    add_tokens_of_file();
  }
  for (const char* role :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    for (const auto& [name, token] : roles_) {
      if (name == std::string_view(role)) add_token(token, true);
    }
  }
  for (const auto& piece : sentencepiece_.pieces) {
    using enum SentencePieceFile::Type;
    if (of_model && (piece.type == kControl || piece.type == kUserDefined))
      add_token(piece.text, piece.type == kControl);
  }
  for (const std::string& token : extra_) add_token(token, true);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    for (const Json* source : {&config_, &special_}) {
      const auto list = source->is_object() ? source->find(key) : source->end();
      if (list == source->end() || !list->is_array()) continue;
      for (const Json& token : *list) add_token(token, true);
    }
  }
  if (names_.contains("pad_token")) set("padding", {{"pad_id", id_of(token("pad_token"))}});
}

/// added_tokens.json: {"<|de|>": 50261 ...}, in the order of their ids. Special are those that the files give a role.
void TokenizerDraft::add_tokens_of_file() {
  const Json list = read_json_if_there(who_, directory_ / "added_tokens.json");
  if (list.is_null()) return;
  if (!list.is_object()) failure(who_, "the added_tokens.json is not an object of tokens and ids");
  std::set<std::string> special;
  for (const auto& [role, token] : roles_) {
    const bool named = has(role) || (special_.is_object() && special_.contains(role) && !special_[role].is_null());
    if (named) special.insert(content_of(who_, token));
  }
  std::map<std::int64_t, std::string> by_id;
  for (const auto& [token, id] : list.items()) {
    if (!holds<std::int32_t>(id))
      failure(who_, "the id of ", shown(token), " in added_tokens.json is ", shown(id.dump()));
    by_id[id.get<std::int32_t>()] = token;
  }
  for (const auto& [id, token] : by_id) add_token(token, special.contains(token));
}

/// The first mention of a token holds.
void TokenizerDraft::add_token(const Json& token, bool special) {
  const std::string content = content_of(who_, token);
  if (content.empty() || !added_.insert(content).second) return;
  if (!ids_.contains(content)) ids_[content] = next_id_++;
  Json entry = {{"id", ids_.at(content)}, {"content", content}, {"special", special}};
  for (const char* key : {"single_word", "lstrip", "rstrip"}) entry[key] = get_or<bool>(who_, token, key, false);
  entry["normalized"] = get_or<bool>(who_, token, "normalized", !special);
  file_["added_tokens"].push_back(std::move(entry));
}

std::int32_t TokenizerDraft::id_of(const std::string& token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) failure(who_, "the special token ", shown(token), " is not in the vocabulary");
  return found->second;
}

std::string TokenizerDraft::token_after(const std::string& token, std::int32_t distance) const {
  const std::int32_t wanted = id_of(token) + distance;
  const auto found = std::find_if(ids_.begin(), ids_.end(), [&](const auto& entry) { return entry.second == wanted; });
  if (found == ids_.end()) failure(who_, "no token has the id ", wanted, ", ", distance, " above ", shown(token));
  return found->first;
}

void TokenizerDraft::add_template(const std::vector<const char*>& before, const std::vector<const char*>& after,
                                  bool once) {
  const auto tokens = [this](const std::vector<const char*>& roles) {
    std::vector<std::string> all;
    for (const char* role : roles) all.push_back(token(role));
    return all;
  };
  set_template(tokens(before), tokens(after), once);
}

void TokenizerDraft::set_template(const std::vector<std::string>& before, const std::vector<std::string>& after,
                                  bool once) {
  Json single = Json::array(), specials = Json::object();
  const auto add = [&](const std::string& token) {
    single.push_back({{"SpecialToken", {{"id", token}}}});
    specials[token] = {{"ids", {id_of(token)}}, {"tokens", {token}}};
  };
  for (const std::string& token : before) add(token);
  single.push_back({{"Sequence", {{"id", "A"}}}});
  for (const std::string& token : after) add(token);
  set("post_processor",
      {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", specials}, {"once", once}});
}

void TokenizerDraft::add_flagged_template() {
  std::vector<const char*> before, after;
  if (flag("add_bos_token", false)) before.push_back("bos_token");
  if (flag("add_eos_token", false)) after.push_back("eos_token");
  add_template(before, after);
}

}  // namespace trine::detail
