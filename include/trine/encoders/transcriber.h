#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/input/audio.h"

namespace trine {

/// What was said in a clip.
struct Transcript {
  struct Segment {
    double start = 0;  ///< seconds
    double end = 0;
    std::string text;
  };

  std::string text;                       ///< without blanks at the ends; empty where nothing was said
  std::vector<Segment> segments = {};     ///< one for a whole clip, unless there are timestamps
  std::vector<std::int32_t> tokens = {};  ///< as the decoder gave them, timestamps too, without prompt and end token
  std::string language = {};              ///< code ("de") of a multilingual checkpoint, given or detected; else empty
  double confidence = 0;                  ///< exp of the tokens' mean log probability, end token too; 0 without tokens
  double no_speech = 0;                   ///< the decoder's probability that nothing is said, the lowest of all windows
  bool repeated = false;                  ///< whether a loop of the decoder was cut: `text` has its first round
};

enum class SpeechTask { transcribe, translate };

struct TranscribeOptions {
  bool timestamps = false;    ///< segments with their times; a clip of more than one window has them anyhow
  std::string language = {};  ///< code ("de"), for multilingual checkpoints; empty: detected in the first window
  SpeechTask task = SpeechTask::transcribe;  ///< multilingual checkpoints can also translate into English
  /// Every window padded to its full length (30 s), as the checkpoint was trained; otherwise the clip and half a second
  /// of silence: faster for a short clip, less accurate: the decoder loops more often.
  bool whole_window = true;
  std::int64_t max_tokens = 0;  ///< of one window; 0: as many as the checkpoint allows
};

/// Speech to text with the checkpoint directory of a Whisper, tiny to large-v3, English or multilingual.
///
///     trine::Transcriber transcriber = trine::Transcriber::load("whisper-tiny.en");
///     std::cout << transcriber.transcribe("question.wav").text << "\n";
///
/// Greedy decoding; tokens equal those of transformers' `generate` with the same generation_config.json (config.json
/// where that is missing): prompt, suppressed tokens, rules of timestamps, windows that begin at the last timestamp.
/// Four things differ on purpose: the windows end with the clip and not with its padding; a run of tokens that comes
/// again and again is cut to its first round; a window is left out where the decoder says that nothing is said
/// (no_speech above 0.6) and is unsure of its text (mean log probability below -1), which is OpenAI's rule; a clip
/// without any sound gives an empty transcript.
///
/// Calls from several threads are safe. Errors: std::invalid_argument for the caller's mistakes (a language the
/// checkpoint does not know, samples that are not finite), std::runtime_error for files (missing, damaged, without
/// a decoder, shorter than 0.1 s).
class TRINE_API Transcriber {
 public:
  /// `directory`: config.json, model.safetensors with encoder and decoder, a tokenizer; or a model of ours that names
  /// one for its audio.
  static Transcriber load(const std::filesystem::path& directory);
  static Transcriber load();  ///< that of the default model, see Embedder::load()

  Transcript transcribe(const AudioInput& audio, const TranscribeOptions& options = {}) const;

  bool multilingual() const;
  std::vector<std::string> languages() const;  ///< codes, sorted; none of an English checkpoint
  double window_seconds() const;               ///< 30 of all published checkpoints
  const std::filesystem::path& directory() const;
  Description describe() const;

 private:
  struct Impl;
  explicit Transcriber(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
