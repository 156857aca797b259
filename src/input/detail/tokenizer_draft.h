#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "detail/json.h"
#include "input/detail/sentencepiece_file.h"

namespace trine::detail {

/// A tokenizer.json in the making, out of the files of a checkpoint that has none.
class TokenizerDraft {
 public:
  /// Special tokens by role ("cls_token"), each a text or an object with "content" and options.
  using Roles = std::vector<std::pair<const char*, Json>>;

  /// `config`: the tokenizer_config.json of the directory, or null.
  TokenizerDraft(const char* who, std::filesystem::path directory, const Json& config);

  /// Options of the tokenizer_config.json.
  bool flag(const char* key, bool fallback) const { return get_or<bool>(who_, config_, key, fallback); }
  bool has(const char* key) const { return config_.contains(key) && !config_[key].is_null(); }
  std::int64_t number(const char* key, std::int64_t fallback, std::int64_t most) const;
  std::string text(const char* key) const { return get<std::string>(who_, config_, key); }

  [[noreturn]] void refuse(const char* why) const;

  void set(const char* part, Json value) { file_[part] = std::move(value); }

  /// The model: WordPiece from vocab.txt, BPE from vocab.json and merges.txt.
  void read_word_list();
  void read_merges(const Json& options);

  /// The SentencePiece model of the directory.
  const SentencePieceFile& read_sentencepiece();
  void use_unigram(const std::vector<std::pair<std::string, double>>& pieces, std::int32_t unknown, bool byte_fallback);
  void use_bpe(const Json& options);

  /// Roles by the files, else by `roles`.
  void name_tokens(const Roles& roles);

  /// Another special token.
  void add_special(const std::string& token) { extra_.push_back(token); }

  /// Adds what all of this asks for, and with `of_model` the control tokens and the like of the SentencePiece model.
  /// After the model and the names, before what needs ids.
  void add_tokens(bool of_model = true);

  const std::string& token(const char* role) const { return names_.at(role); }
  Json token_and_id(const char* role) const { return {token(role), id_of(token(role))}; }
  /// The token whose id is `distance` above that of another one.
  std::string token_after(const std::string& token, std::int32_t distance) const;

  /// The tokens of these roles before and after the text; with `once` not those that end it already.
  void add_template(const std::vector<const char*>& before, const std::vector<const char*>& after, bool once = false);

  /// The same of tokens themselves.
  void set_template(const std::vector<std::string>& before, const std::vector<std::string>& after, bool once = false);

  /// The same with what add_bos_token and add_eos_token of the configuration ask for.
  void add_flagged_template();

  Json take() { return std::move(file_); }

 private:
  void add_token(const Json& token, bool special);
  void add_tokens_of_file();
  std::int32_t id_of(const std::string& token) const;

  const char* who_;
  std::filesystem::path directory_;
  Json config_;
  Json special_;  // special_tokens_map.json
  Json file_ = {{"added_tokens", Json::array()}};
  SentencePieceFile sentencepiece_;
  std::map<std::string, std::int32_t> ids_;  // added tokens too
  std::int32_t next_id_ = 0;
  Roles roles_;
  std::map<std::string, std::string> names_;
  std::vector<std::string> extra_;
  std::set<std::string> added_;
};

/// A JSON file that may be missing: null then.
Json read_json_if_there(const char* who, const std::filesystem::path& path);

}  // namespace trine::detail
