#include "trine/input/text.h"

#include <algorithm>
#include <limits>

#include "detail/error.h"
#include "detail/json.h"
#include "input/detail/added_tokens.h"
#include "input/detail/bert_normalizer.h"
#include "input/detail/bert_pre_tokenizer.h"
#include "input/detail/post_processor.h"
#include "input/detail/unicode.h"
#include "input/detail/wordpiece.h"

namespace trine {

using detail::bad_argument;
using detail::failure;
using detail::Json;

namespace {

constexpr const char* kLoad = "Tokenizer::load";
constexpr const char* kEncode = "Tokenizer::encode";

/// The value at `key`, null if there is none.
const Json& part(const Json& file, const char* key) {
  static const Json null;
  const auto found = file.is_object() ? file.find(key) : file.end();
  return found == file.end() ? null : *found;
}

/// The id that padding uses: the file's, else that of [PAD], else 0.
std::int32_t read_pad_id(const Json& file, const std::vector<std::string>& tokens) {
  const Json& padding = part(file, "padding");
  if (!padding.is_null()) {
    const auto id = detail::get<std::int32_t>(kLoad, padding, "pad_id");
    if (id < 0 || static_cast<std::size_t>(id) >= tokens.size()) {
      failure(kLoad, "the pad_id is ", id, ", ids end at ", tokens.size() - 1);
    }
    return id;
  }
  const auto found = std::find(tokens.begin(), tokens.end(), "[PAD]");
  return found == tokens.end() ? 0 : static_cast<std::int32_t>(found - tokens.begin());
}

}  // namespace

struct Tokenizer::Impl {
  detail::BertNormalizer normalizer;
  detail::BertPreTokenizer pre_tokenizer;
  detail::WordPiece model;
  std::vector<std::string> tokens;  // by id, added ones included
  detail::AddedTokens added;
  detail::PostProcessor post_processor;
  std::int32_t pad_id = 0;

  explicit Impl(const Json& file);

  /// Appends the tokens of `text`, at least `enough` of them if there are as many.
  void tokenize(std::u32string_view text, std::size_t enough, Encoding& encoding) const;

 private:
  void tokenize_normalized(const detail::Normalized& text, std::size_t enough, Encoding& encoding) const;
};

Tokenizer::Impl::Impl(const Json& file) {
  if (const auto version = detail::get_or<std::string>(kLoad, file, "version", "1.0"); version != "1.0") {
    failure(kLoad, "the version is ", detail::shown(version), ", wanted \"1.0\"");
  }
  normalizer = detail::BertNormalizer::from_json(kLoad, part(file, "normalizer"));
  pre_tokenizer = detail::BertPreTokenizer::from_json(kLoad, part(file, "pre_tokenizer"));
  model = detail::WordPiece::from_json(kLoad, part(file, "model"));
  tokens = model.tokens();
  added = detail::AddedTokens::from_json(kLoad, part(file, "added_tokens"), normalizer, tokens, model.size());
  post_processor = detail::PostProcessor::from_json(kLoad, part(file, "post_processor"), tokens.size());
  pad_id = read_pad_id(file, tokens);
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
  const std::u32string_view chars = text.chars;
  const auto offsets = [&](std::size_t begin, std::size_t end) {
    return std::pair(text.spans[begin].begin, text.spans[end - 1].end);
  };
  std::vector<detail::WordPiece::Piece> pieces;
  for (const auto& [begin, end, id] : added.split_normalized(chars)) {
    if (encoding.ids.size() >= enough) return;
    const auto part = chars.substr(begin, end - begin);
    if (id >= 0) {
      encoding.ids.push_back(id);
      encoding.tokens.push_back(detail::encode_utf8(part));
      encoding.offsets.push_back(offsets(begin, end));
      continue;
    }
    pre_tokenizer.split(part, [&, start = begin](std::size_t from, std::size_t to) {
      pieces.clear();
      model.tokenize(part.substr(from, to - from), pieces);
      for (const auto& piece : pieces) {
        encoding.ids.push_back(piece.id);
        encoding.tokens.push_back(tokens[static_cast<std::size_t>(piece.id)]);
        encoding.offsets.push_back(offsets(start + from + piece.begin, start + from + piece.end));
      }
      return encoding.ids.size() < enough;
    });
  }
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code error;
  const auto file = std::filesystem::is_directory(path, error) ? path / "tokenizer.json" : path;
  return Tokenizer(std::make_shared<const Impl>(detail::read_json(kLoad, file, {.unique_keys = true})));
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
  const auto add_special = [&](const std::vector<detail::PostProcessor::Special>& specials) {
    for (const auto& [id, token] : specials) {
      encoding.ids.push_back(id);
      encoding.tokens.push_back(token);
      encoding.offsets.emplace_back(0, 0);
    }
  };
  add_special(impl_->post_processor.before());
  const std::size_t most = encoding.ids.size() + room;
  impl_->tokenize(detail::decode_utf8(kEncode, text), most + 1, encoding);
  encoding.truncated = encoding.ids.size() > most;
  if (encoding.truncated) {
    encoding.ids.resize(most);
    encoding.tokens.resize(most);
    encoding.offsets.resize(most);
  }
  add_special(impl_->post_processor.after());
  return encoding;
}

std::int32_t Tokenizer::pad_id() const { return impl_->pad_id; }

std::int64_t Tokenizer::vocab_size() const { return static_cast<std::int64_t>(impl_->tokens.size()); }

std::string Tokenizer::describe() const {
  return impl_->model.describe() + ", " + std::to_string(impl_->added.size()) + " added tokens, " +
         impl_->normalizer.describe() + ", BertPreTokenizer, " + impl_->post_processor.describe();
}

void check_utf8(std::string_view text) { detail::decode_utf8("check_utf8", text); }

}  // namespace trine
