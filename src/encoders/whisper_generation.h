#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace trine::detail {

/// What a Whisper checkpoint says of its decoding, and the rules that follow from it. Reference: transformers'
/// generation_whisper.py and WhisperTimeStampLogitsProcessor.
class WhisperGeneration {
 public:
  /// From generation_config.json, or from config.json where there is none; ids have to be below `vocab_size`.
  WhisperGeneration(const char* who, const std::filesystem::path& directory, std::int64_t vocab_size);

  /// What comes before the first token that is decided. `language` and `task` are ids of a multilingual checkpoint.
  std::vector<std::int32_t> prompt(std::optional<std::int32_t> language, std::optional<std::int32_t> task,
                                   bool timestamps) const;

  /// Takes the scores of tokens that may not come next to -inf. `tokens`: those that were decided.
  void restrict(std::vector<float>& scores, const std::vector<std::int32_t>& tokens, bool timestamps) const;

  bool multilingual() const { return !languages.empty(); }
  bool has_timestamps() const { return no_timestamps.has_value(); }
  bool is_timestamp(std::int32_t id) const { return no_timestamps && id > *no_timestamps; }
  std::int32_t timestamp_begin() const { return *no_timestamps + 1; }
  /// The token that stands for a window without speech: the one before <|notimestamps|>.
  std::optional<std::int32_t> no_speech() const;

  std::int32_t start = 0;
  std::int32_t end = 0;
  std::optional<std::int32_t> no_timestamps = {};
  std::map<std::string, std::int32_t> languages = {};  ///< by code, "de"
  std::map<std::string, std::int32_t> tasks = {};      ///< "transcribe", "translate"
  std::int64_t max_length = 0;                         ///< prompt and tokens; 0: no limit but the positions

 private:
  void restrict_timestamps(std::vector<float>& scores, const std::vector<std::int32_t>& tokens) const;

  std::vector<std::int32_t> forced_;  ///< after the start
  std::vector<std::int32_t> suppressed_;
  std::vector<std::int32_t> suppressed_at_begin_;
  std::optional<std::int32_t> max_initial_timestamp_;
};

/// How many tokens at the end are further rounds of what came right before them; 0 where nothing loops.
std::size_t loop_length(const std::vector<std::int32_t>& tokens);

}  // namespace trine::detail
