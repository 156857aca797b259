#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trine/export.h"

namespace trine {

/// Token ids of one text, as the Hugging Face fast tokenizer gives them.
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::string> tokens;
  /// [begin, end) in Unicode code points of the text; (0, 0) for special tokens.
  std::vector<std::pair<std::int32_t, std::int32_t>> offsets;
  bool truncated = false;  ///< whether `max_length` cut something away
};

/// Text to token ids and back, from the tokenizer files of a checkpoint.
///
///     auto tokenizer = trine::Tokenizer::load("all-MiniLM-L6-v2");
///     trine::Encoding e = tokenizer.encode("the red one");   // [CLS] the red one [SEP]
///
/// Ids and offsets equal those of the Hugging Face fast tokenizer. It reads `tokenizer.json` with models BPE,
/// WordPiece, Unigram and WordLevel and the components that checkpoints use with them, else the older files:
/// `vocab.txt`, `vocab.json` with `merges.txt`, SentencePiece models. Time grows as the text, at most with the factor
/// log n.
class TRINE_API Tokenizer {
 public:
  /// `path`: a tokenizer.json, or a directory with one or with the older files.
  /// Errors: std::runtime_error naming the part that is not supported.
  static Tokenizer load(const std::filesystem::path& path);

  /// `max_length` counts special tokens; 0 = no limit. Text that is not valid UTF-8 is std::invalid_argument and names
  /// the byte; so is a character that the vocabulary lacks where it has no token for those.
  Encoding encode(std::string_view text, std::int64_t max_length = 0) const;

  /// The text of ids, as the Hugging Face fast tokenizer gives it: ids without a token are left out, bytes that are no
  /// valid UTF-8 become U+FFFD. With `skip_special_tokens` not those that the files call special.
  /// Errors: std::runtime_error where the decoder of the file is not ByteLevel (GPT-2, RoBERTa, Qwen2, Whisper have it).
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens = true) const;

  std::int32_t pad_id() const;
  std::int64_t max_length() const;  ///< most tokens that the model was made for; 0 if the files do not say
  std::int64_t vocab_size() const;
  std::string describe() const;  ///< one line: model, normaliser, pre-tokeniser, post-processor

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// std::invalid_argument naming the first bad byte if `text` is not valid UTF-8.
TRINE_API void check_utf8(std::string_view text);

}  // namespace trine
