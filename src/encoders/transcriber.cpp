#include "trine/encoders/transcriber.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <sstream>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/encoder_directory.h"
#include "encoders/whisper_generation.h"
#include "place.h"
#include "trine/embedder.h"
#include "trine/encoders/whisper.h"
#include "trine/encoders/whisper_decoder.h"
#include "trine/input/text.h"

namespace trine {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr const char* kWho = "Transcriber";
constexpr const char* kTranscribe = "transcribe";
constexpr int kRate = 16'000;                      // Hz
constexpr std::int64_t kHop = 160;                 // samples of a mel frame
constexpr std::int64_t kStride = 2;                // mel frames of a position, and of a timestamp
constexpr double kFrame = 0.01;                    // seconds
constexpr double kTick = kFrame * kStride;         // seconds from one timestamp to the next
constexpr double kShortestClip = 0.1;              // seconds
constexpr double kTail = 0.5;                      // seconds of silence after a clip that is not padded to a window
constexpr float kSilence = 3.2e-5f;                // -90 dBFS: no sample of a clip without sound is louder
constexpr double kNoSpeech = 0.6, kUnsure = -1.0;  // a window beyond both holds no text

/// The checkpoint that a directory is, or that a model of ours in it names.
fs::path checkpoint_directory(const fs::path& directory) {
  const detail::Json config = detail::read_json(kWho, directory / "config.json");
  const auto type = detail::get_or<std::string>(kWho, config, "model_type", "");
  if (type == "whisper") return directory;
  if (type != "trine") {
    detail::failure(kWho, directory, " holds the model_type ", detail::shown(type), ", wanted whisper");
  }
  if (!config.contains("audio")) detail::failure(kWho, "the model in ", directory, " has no audio tower");
  const auto name = detail::get<std::string>(kWho, config.at("audio"), "encoder");
  return checkpoint_directory(detail::encoder_directory(kWho, directory, name));
}

std::string trimmed(const std::string& text) {
  constexpr const char* kBlanks = " \t\n\r";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

double log_sum_exp(const std::vector<float>& scores) {
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const float score : scores) sum += std::exp(static_cast<double>(score) - most);
  return most + std::log(sum);
}

/// What was decoded of a window, the end token left out of `tokens` but not of `log_probabilities`.
struct Decoded {
  std::vector<std::int32_t> tokens = {};
  std::vector<double> log_probabilities = {};
  double no_speech = 0;
  bool repeated = false;

  double mean() const {
    double sum = 0;
    for (const double value : log_probabilities) sum += value;
    return log_probabilities.empty() ? 0.0 : sum / static_cast<double>(log_probabilities.size());
  }
};

}  // namespace

struct Transcriber::Impl {
  fs::path directory;
  WhisperConfig encoder_config;
  WhisperDecoderConfig decoder_config;
  detail::WhisperGeneration generation;
  Tokenizer tokenizer;
  detail::Place place;
  WhisperEncoder encoder;
  WhisperDecoder decoder;

  explicit Impl(const fs::path& checkpoint_folder)
      : directory(checkpoint_folder),
        encoder_config(WhisperConfig::load(directory / "config.json")),
        decoder_config(WhisperDecoderConfig::load(directory / "config.json")),
        generation(kWho, directory, decoder_config.vocab_size),
        tokenizer(Tokenizer::load(directory)),
        encoder(encoder_config),
        decoder(decoder_config) {
    const Checkpoint checkpoint = Checkpoint::open(directory);
    // WhisperForConditionalGeneration writes "model.encoder.", WhisperModel writes "encoder."
    const std::string prefix = checkpoint.contains("model.encoder.conv1.weight") ? "model." : "";
    if (!checkpoint.contains(prefix + "decoder.embed_tokens.weight")) {
      detail::failure(kWho, checkpoint.path(), " holds no decoder (", prefix,
                      "decoder.embed_tokens.weight): it makes vectors of speech but no text");
    }
    if (tokenizer.vocab_size() > decoder_config.vocab_size) {
      detail::failure(kWho, "the tokenizer in ", directory, " has ", tokenizer.vocab_size(), " ids, the decoder ",
                      decoder_config.vocab_size);
    }
    load_weights(*encoder, checkpoint, prefix + "encoder.");
    load_weights(*decoder, checkpoint, prefix + "decoder.");
    encoder->eval();
    decoder->eval();
  }

  std::int64_t window_frames() const { return kStride * encoder_config.max_source_positions; }

  std::vector<float> scores_of(const Tensor& hidden) const {
    const Tensor scores = place.here(decoder->logits(hidden)).contiguous();
    const float* begin = scores.const_data_ptr<float>();
    return {begin, begin + scores.numel()};
  }

  /// The decoder's states of the tokens that come next.
  Tensor step(const std::vector<std::int64_t>& ids, WhisperDecoderState& state) const {
    return decoder->forward(place.there(torch::tensor(ids).unsqueeze(0)), state);
  }

  std::int32_t detect_language(const Tensor& states) const {
    WhisperDecoderState state = decoder->start(states);
    const std::vector<float> scores = scores_of(step({generation.start}, state));
    const auto score = [&](const auto& language) { return scores[static_cast<std::size_t>(language.second)]; };
    return std::max_element(generation.languages.begin(), generation.languages.end(),
                            [&](const auto& a, const auto& b) { return score(a) < score(b); })
        ->second;
  }

  /// The language token: given, detected, or none of an English checkpoint.
  std::optional<std::int32_t> language_of(const TranscribeOptions& options, const Tensor& states) const {
    if (!generation.multilingual()) return std::nullopt;
    return options.language.empty() ? detect_language(states) : generation.languages.at(options.language);
  }

  void check(const TranscribeOptions& options) const {
    if (options.max_tokens < 0) {
      detail::bad_argument(kTranscribe, "max_tokens is ", options.max_tokens, ", wanted 1 or more, or 0 for no limit");
    }
    if (options.timestamps && !generation.has_timestamps()) {
      detail::bad_argument(kTranscribe, "the checkpoint in ", directory,
                           " has no timestamps: its generation_config.json lacks no_timestamps_token_id");
    }
    if (!options.language.empty() && !generation.languages.contains(options.language)) {
      std::string known;
      for (const auto& [code, id] : generation.languages) known += (known.empty() ? "" : ", ") + code;
      detail::bad_argument(kTranscribe, "the checkpoint in ", directory, " does not know the language ",
                           detail::shown(options.language), ": it ",
                           known.empty() ? "is of one language and takes none" : "has " + known);
    }
    if (options.task == SpeechTask::translate && !generation.tasks.contains("translate")) {
      detail::bad_argument(kTranscribe, "the checkpoint in ", directory, " does not translate, it only transcribes");
    }
  }

  /// Greedy, the likeliest token each time. states (1, T, d_model)
  Decoded decode(const Tensor& states, const std::vector<std::int32_t>& prompt, bool timestamps,
                 std::int64_t max_tokens) const {
    WhisperDecoderState state = decoder->start(states);
    const auto room = [&](std::int64_t most) { return most - std::ssize(prompt); };
    std::int64_t left = room(decoder_config.max_target_positions);
    if (generation.max_length > 0) left = std::min(left, room(generation.max_length));
    if (max_tokens > 0) left = std::min(left, max_tokens);

    Decoded decoded;
    std::vector<std::int32_t> words;  // the tokens that are no timestamps,
    std::vector<std::size_t> places;  // and where among all they are
    Tensor hidden = step({prompt.begin(), prompt.end()}, state);
    if (generation.no_speech()) {
      const std::vector<float> scores = scores_of(hidden.select(1, 0));
      const auto score = static_cast<double>(scores[static_cast<std::size_t>(*generation.no_speech())]);
      decoded.no_speech = std::exp(score - log_sum_exp(scores));
    }
    for (; left > 0; --left) {
      std::vector<float> scores = scores_of(hidden.select(1, -1));
      generation.restrict(scores, decoded.tokens, timestamps);
      const auto best = std::max_element(scores.begin(), scores.end());
      if (!std::isfinite(*best)) break;  // nothing may come next
      const auto id = static_cast<std::int32_t>(best - scores.begin());
      decoded.log_probabilities.push_back(static_cast<double>(*best) - log_sum_exp(scores));
      if (id == generation.end) break;
      if (!generation.is_timestamp(id)) {
        words.push_back(id);
        places.push_back(decoded.tokens.size());
      }
      decoded.tokens.push_back(id);
      if (const std::size_t again = detail::loop_length(words); again > 0) {
        const std::size_t kept = places[words.size() - again];
        decoded.tokens.resize(kept);
        decoded.log_probabilities.resize(kept);
        decoded.repeated = true;
        break;
      }
      if (left > 1) hidden = step({id}, state);
    }
    return decoded;
  }

  std::string text_of(std::span<const std::int32_t> tokens) const {
    std::vector<std::int32_t> words;
    for (const std::int32_t id : tokens) {
      if (!generation.is_timestamp(id)) words.push_back(id);
    }
    return tokenizer.decode(words);
  }

  /// Appends the segments of a window that begins at `first` and has `frames`; the frames that they cover, after which
  /// the next window begins.
  std::int64_t add_segments(const Decoded& decoded, std::int64_t first, std::int64_t frames,
                            Transcript& transcript) const {
    const std::vector<std::int32_t>& tokens = decoded.tokens;
    const auto stamp = [&](std::size_t i) { return i < tokens.size() && generation.is_timestamp(tokens[i]); };
    const auto ticks = [&](std::size_t i) { return std::int64_t{tokens[i]} - generation.timestamp_begin(); };
    const double offset = static_cast<double>(first) * kFrame;
    const double end = offset + static_cast<double>(frames) * kFrame;
    const auto add = [&](std::size_t begin, std::size_t after, std::int64_t from, std::int64_t to) {
      const std::span<const std::int32_t> part = std::span(tokens).subspan(begin, after - begin);
      transcript.tokens.insert(transcript.tokens.end(), part.begin(), part.end());
      std::string text = trimmed(text_of(part));
      if (text.empty()) return;
      const auto seconds = [&](std::int64_t at) {
        return std::clamp(offset + static_cast<double>(at) * kTick, offset, end);
      };
      transcript.segments.push_back({seconds(from), seconds(to), std::move(text)});
    };

    std::vector<std::size_t> cuts;  // between the two timestamps of a pair
    for (std::size_t i = 1; i < tokens.size(); ++i) {
      if (stamp(i - 1) && stamp(i)) cuts.push_back(i);
    }
    if (cuts.empty()) {
      std::int64_t to = frames / kStride + 1;  // past the end, which bounds it
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (stamp(i) && ticks(i) > 0) to = ticks(i);
      }
      add(0, tokens.size(), 0, to);
      return frames;
    }
    // One timestamp at the very end: nothing is said after it. Otherwise what follows the last pair was cut by the
    // window, and belongs to the next one.
    const bool whole = tokens.size() >= 2 && stamp(tokens.size() - 1) && !stamp(tokens.size() - 2);
    if (whole) cuts.push_back(tokens.size());
    std::size_t begin = 0;
    for (std::size_t i = 0; i < cuts.size(); ++i) {
      const bool last_pair = i + 1 == cuts.size() && !whole;  // both of its timestamps end the segment
      const std::size_t after = last_pair ? cuts[i] + 1 : cuts[i];
      add(begin, after, ticks(begin), ticks(cuts[i] - 1));
      begin = after;
    }
    const std::int64_t covered = whole ? frames : std::min(frames, ticks(begin - 2) * kStride);
    return covered > 0 ? covered : frames;
  }

  Transcript transcribe(const Audio& clip, const TranscribeOptions& options) const {
    const std::int64_t window = window_frames();
    std::vector<float> samples = clip.samples;
    const std::int64_t frames = (std::ssize(samples) + kHop - 1) / kHop;
    const bool one_window = frames <= window;
    if (!one_window && !generation.has_timestamps()) {
      detail::bad_argument(kTranscribe, "the clip has ", clip.seconds(),
                           " s and the checkpoint no timestamps, at most ", static_cast<double>(window) * kFrame,
                           " s fit");
    }
    const bool timestamps = options.timestamps || !one_window;
    if (one_window) {
      const auto tail = static_cast<std::int64_t>(kTail / kFrame);
      const std::int64_t padded = options.whole_window ? window : std::min(window, frames + tail);
      samples.resize(static_cast<std::size_t>(padded * kHop));
    }
    Spectrogram mel = whisper_mel(samples, static_cast<int>(encoder_config.num_mel_bins));
    const Tensor spectrum = torch::from_blob(mel.values.data(), {1, mel.rows, mel.columns});
    const std::int64_t last = one_window ? frames : spectrum.size(2);

    Transcript transcript;
    transcript.no_speech = 1;
    std::optional<std::vector<std::int32_t>> prompt;
    double sum = 0;
    std::size_t count = 0;
    for (std::int64_t first = 0; first < last;) {
      const std::int64_t here = std::min(window, last - first);
      Tensor input = spectrum.slice(2, first, std::min(first + window, spectrum.size(2)));
      if (options.whole_window) input = torch::constant_pad_nd(input, {0, window - input.size(2)});
      const Tensor states = encoder->forward(place.there(input));
      if (!prompt) {
        const std::optional<std::int32_t> language = language_of(options, states);
        for (const auto& [code, id] : generation.languages) {
          if (id == language) transcript.language = code;
        }
        const auto task = generation.tasks.find(options.task == SpeechTask::translate ? "translate" : "transcribe");
        prompt = generation.prompt(
            language, task == generation.tasks.end() ? std::nullopt : std::optional(task->second), timestamps);
      }
      const Decoded decoded = decode(states, *prompt, timestamps, options.max_tokens);
      transcript.no_speech = std::min(transcript.no_speech, decoded.no_speech);
      if (decoded.no_speech > kNoSpeech && decoded.mean() < kUnsure) {
        first += here;
        continue;
      }
      transcript.repeated = transcript.repeated || decoded.repeated;
      sum += decoded.mean() * static_cast<double>(decoded.log_probabilities.size());
      count += decoded.log_probabilities.size();
      first += add_segments(decoded, first, here, transcript);
    }
    transcript.text = trimmed(text_of(transcript.tokens));  // at once: a character may span two segments
    transcript.confidence = count == 0 ? 0.0 : std::exp(sum / static_cast<double>(count));
    return transcript;
  }
};

Transcriber::Transcriber(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Transcriber Transcriber::load(const fs::path& directory) {
  if (!fs::is_directory(directory)) {
    throw fs::filesystem_error("[Transcriber] there is no such model folder", directory,
                               std::make_error_code(std::errc::no_such_file_or_directory));
  }
  return Transcriber(std::make_shared<const Impl>(checkpoint_directory(directory)));
}

Transcriber Transcriber::load() { return load(default_model_directory()); }

Transcript Transcriber::transcribe(const AudioInput& audio, const TranscribeOptions& options) const {
  const torch::NoGradGuard no_grad;
  impl_->check(options);
  const Audio clip = samples_of(audio, {.sample_rate = kRate});
  if (clip.seconds() < kShortestClip) {
    detail::failure(kTranscribe, name_of(audio), " lasts ", clip.seconds(), " s, at least ", kShortestClip,
                    " s is wanted");
  }
  if (std::all_of(clip.samples.begin(), clip.samples.end(), [](float x) { return std::abs(x) < kSilence; })) {
    return {.text = "", .no_speech = 1};
  }
  const detail::PlaceScope scope(impl_->place);
  return impl_->transcribe(clip, options);
}

bool Transcriber::multilingual() const { return impl_->generation.multilingual(); }
double Transcriber::window_seconds() const { return static_cast<double>(impl_->window_frames()) * kFrame; }
const fs::path& Transcriber::directory() const { return impl_->directory; }

std::vector<std::string> Transcriber::languages() const {
  std::vector<std::string> codes;
  for (const auto& [code, id] : impl_->generation.languages) codes.push_back(code);
  return codes;
}

Description Transcriber::describe() const {
  std::ostringstream window;
  window << "one of " << window_seconds()
         << " s for a clip that fits, padded with silence; else one after the other, each from "
         << "the last timestamp of the one before";
  return {{"model_type", "whisper"},
          {"directory", directory().string()},
          {"device", impl_->place.device().str()},
          {"input", "16000 Hz mono, other rates by soxr HQ"},
          {"mel", std::to_string(impl_->encoder_config.num_mel_bins) + " slaney bands from 0 to 8 kHz"},
          {"windows", window.str()},
          {"decoding", "greedy, keys and values kept, loops cut to their first round"},
          {"languages", multilingual() ? std::to_string(languages().size()) + ", detected where none is given" : "one"},
          {"timestamps", impl_->generation.has_timestamps() ? "steps of 0.02 s" : "none"},
          {"tokenizer", impl_->tokenizer.describe()}};
}

}  // namespace trine
