#include "trine/input/text.h"

#include <algorithm>
#include <limits>

#include "detail/error.h"
#include "detail/json.h"
#include "input/detail/added_tokens.h"
#include "input/detail/model.h"
#include "input/detail/normalizer.h"
#include "input/detail/older_files.h"
#include "input/detail/post_processor.h"
#include "input/detail/pre_tokenizer.h"
#include "input/detail/tokenizer_draft.h"
#include "input/detail/unicode.h"

namespace trine {

using detail::bad_argument;
using detail::failure;
using detail::Json;

namespace {

constexpr const char* kLoad = "Tokenizer::load";
constexpr const char* kEncode = "Tokenizer::encode";
constexpr const char* kDecode = "Tokenizer::decode";

/// The value at `key`, null if there is none.
const Json& part(const Json& file, const char* key) {
  static const Json null;
  const auto found = file.is_object() ? file.find(key) : file.end();
  return found == file.end() ? null : *found;
}

/// The id that padding uses: that of the configuration's pad_token, else the file's, else that of [PAD] or <pad>, else
/// 0.
std::int32_t read_pad_id(const Json& file, const Json& config, const detail::Vocabulary& vocabulary) {
  const Json& named = part(config, "pad_token");
  if (!named.is_null()) {
    const std::int32_t id = vocabulary.find(named.is_object() ? detail::get<std::string>(kLoad, named, "content")
                                                              : detail::get<std::string>(kLoad, config, "pad_token"));
    if (id >= 0) return id;
  }
  const Json& padding = part(file, "padding");
  if (!padding.is_null()) {
    const auto id = detail::get<std::int32_t>(kLoad, padding, "pad_id");
    if (id < 0 || static_cast<std::size_t>(id) >= vocabulary.tokens.size()) {
      failure(kLoad, "the pad_id is ", id, ", ids end at ", vocabulary.tokens.size() - 1);
    }
    return id;
  }
  for (const char* token : {"[PAD]", "<pad>"}) {
    if (const std::int32_t id = vocabulary.find(token); id >= 0) return id;
  }
  return 0;
}

/// The configuration's model_max_length unless it is the huge number that stands for none, else the file's truncation.
std::int64_t read_max_length(const Json& file, const Json& config) {
  constexpr double kHuge = 1e9;
  const auto configured = detail::get_or<double>(kLoad, config, "model_max_length", kHuge);
  if (configured >= 1 && configured < kHuge) return static_cast<std::int64_t>(configured);
  const auto length = detail::get_or<std::int64_t>(kLoad, part(file, "truncation"), "max_length", 0);
  return length < 0 ? 0 : length;
}

}  // namespace

struct Tokenizer::Impl {
  detail::Normalizer normalizer;
  detail::PreTokenizer pre_tokenizer;
  std::unique_ptr<const detail::Model> model;
  detail::Vocabulary vocabulary;  // added tokens included
  detail::AddedTokens added;
  detail::PostProcessor post_processor;
  std::string decoder;  // its type, empty without one
  std::vector<std::int32_t> special_ids;
  std::int32_t pad_id = 0;
  std::int64_t max_length = 0;

  /// `config`: the tokenizer_config.json, or null.
  Impl(const Json& file, const Json& config);

  /// Appends the tokens of `text`, at least `enough` of them if there are as many.
  void tokenize(std::u32string_view text, std::size_t enough, Encoding& encoding) const;

 private:
  void tokenize_normalized(const detail::Normalized& text, std::size_t enough, Encoding& encoding) const;
};

Tokenizer::Impl::Impl(const Json& file, const Json& config) {
  if (const auto version = detail::get_or<std::string>(kLoad, file, "version", "1.0"); version != "1.0") {
    failure(kLoad, "the version is ", detail::shown(version), ", wanted \"1.0\"");
  }
  normalizer = detail::Normalizer::from_json(kLoad, part(file, "normalizer"));
  pre_tokenizer = detail::PreTokenizer::from_json(kLoad, part(file, "pre_tokenizer"));
  model = detail::read_model(kLoad, part(file, "model"));
  vocabulary = model->vocabulary();
  added = detail::AddedTokens::from_json(kLoad, part(file, "added_tokens"), normalizer, vocabulary);
  post_processor = detail::PostProcessor::from_json(kLoad, part(file, "post_processor"), vocabulary.tokens.size());
  decoder = detail::get_or<std::string>(kLoad, part(file, "decoder"), "type", "");
  special_ids = added.special_ids();
  pad_id = read_pad_id(file, config, vocabulary);
  max_length = read_max_length(file, config);
}

void Tokenizer::Impl::tokenize(std::u32string_view text, std::size_t enough, Encoding& encoding) const {
  for (const auto& [begin, end, id] : added.split_raw(text)) {
    if (encoding.ids.size() >= enough) return;
    const auto first = static_cast<std::int32_t>(begin);
    if (id < 0) {
      tokenize_normalized(normalizer.normalize(text.substr(begin, end - begin), first), enough, encoding);
    } else {
      encoding.ids.push_back(id);
      encoding.tokens.push_back(detail::encode_utf8(text.substr(begin, end - begin)));
      encoding.offsets.emplace_back(first, static_cast<std::int32_t>(end));
    }
  }
}

void Tokenizer::Impl::tokenize_normalized(const detail::Normalized& text, std::size_t enough,
                                          Encoding& encoding) const {
  std::vector<detail::Piece> pieces;
  for (const auto& [begin, end, id] : added.split_normalized(text.chars)) {
    if (encoding.ids.size() >= enough) return;
    if (id >= 0) {
      encoding.ids.push_back(id);
      encoding.tokens.push_back(detail::encode_utf8(std::u32string_view(text.chars).substr(begin, end - begin)));
      encoding.offsets.emplace_back(text.spans[begin].begin, text.spans[end - 1].end);
      continue;
    }
    detail::Words words;
    words.text.add(text, begin, end);
    words.words.push_back({0, end - begin});
    pre_tokenizer(words);
    for (const detail::Words::Word& word : words.words) {
      if (encoding.ids.size() >= enough) return;
      const std::u32string_view chars = words.chars(word);
      pieces.clear();
      model->tokenize(chars, pieces);
      for (const detail::Piece& piece : pieces) {
        encoding.ids.push_back(piece.id);
        encoding.tokens.push_back(piece.as_written
                                      ? detail::encode_utf8(chars.substr(piece.begin, piece.end - piece.begin))
                                      : vocabulary.tokens[static_cast<std::size_t>(piece.id)]);
        encoding.offsets.emplace_back(words.text.spans[word.begin + piece.begin].begin,
                                      words.text.spans[word.begin + piece.end - 1].end);
      }
    }
  }
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code error;
  const bool directory = std::filesystem::is_directory(path, error);
  const auto file = directory ? path / "tokenizer.json" : path;
  const Json config = directory ? detail::read_json_if_there(kLoad, path / "tokenizer_config.json") : Json();
  const bool older = directory && !std::filesystem::exists(file, error);
  return Tokenizer(std::make_shared<const Impl>(
      older ? detail::convert_older_files(kLoad, path, config) : detail::read_json(kLoad, file, {.unique_keys = true}),
      config));
}

Encoding Tokenizer::encode(std::string_view text, std::int64_t max_length) const {
  const auto special = static_cast<std::int64_t>(impl_->post_processor.count());
  if (max_length < 0 || (max_length > 0 && max_length < special)) {
    bad_argument(kEncode, "max_length has to be 0 or at least ", special, ", the number of special tokens; got ",
                 max_length);
  }
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    bad_argument(kEncode, "the text has ", text.size(), " bytes, at most ", std::numeric_limits<std::int32_t>::max(),
                 " are accepted");
  }
  const auto room =
      max_length == 0 ? std::numeric_limits<std::size_t>::max() / 2 : static_cast<std::size_t>(max_length - special);

  Encoding encoding;
  impl_->tokenize(detail::decode_utf8(kEncode, text), room + 1, encoding);
  encoding.truncated = encoding.ids.size() > room;
  if (encoding.truncated) {
    encoding.ids.resize(room);
    encoding.tokens.resize(room);
    encoding.offsets.resize(room);
  }
  impl_->post_processor(encoding);
  return encoding;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  if (impl_->decoder != "ByteLevel") {
    failure(kDecode, "the decoder ", detail::shown(impl_->decoder), " of the file is not supported; wanted ByteLevel");
  }
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) continue;
    if (skip_special_tokens && std::binary_search(impl_->special_ids.begin(), impl_->special_ids.end(), id)) continue;
    bytes += detail::from_byte_alphabet(impl_->vocabulary.tokens[static_cast<std::size_t>(id)]);
  }
  return detail::replace_invalid_utf8(bytes);
}

std::int32_t Tokenizer::pad_id() const { return impl_->pad_id; }

std::int64_t Tokenizer::max_length() const { return impl_->max_length; }

std::int64_t Tokenizer::vocab_size() const { return static_cast<std::int64_t>(impl_->vocabulary.tokens.size()); }

std::string Tokenizer::describe() const {
  return impl_->model->describe() + ", " + std::to_string(impl_->added.size()) + " added tokens, " +
         impl_->normalizer.describe() + ", " + impl_->pre_tokenizer.describe() + ", " +
         impl_->post_processor.describe();
}

void check_utf8(std::string_view text) { detail::decode_utf8("check_utf8", text); }

}  // namespace trine
