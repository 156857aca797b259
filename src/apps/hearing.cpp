#include "trine/apps/hearing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include "apps/model_heads.h"
#include "detail/error.h"
#include "detail/json.h"
#include "trine/device.h"
#include "trine/layers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kWho = "Hearing";
/// A short clip is filled up with silence to this before it is decoded. The decoder loops on shorter ones; a whole
/// window of 30 s takes twice as long and hears no better.
constexpr double kLeastSeconds = 10;

/// What of a clip decides how far its transcript is trusted, and what each fact weighs.
struct Trust {
  static constexpr std::array<const char*, 5> kFacts{"confidence", "no_speech", "repeated", "agreement", "words"};
  std::array<double, kFacts.size()> weights{};
  double bias = 0;

  explicit Trust(const detail::Json& fitted) : bias(detail::get<double>(kWho, fitted, "bias")) {
    for (std::size_t i = 0; i < kFacts.size(); ++i) weights[i] = detail::get<double>(kWho, fitted, kFacts[i]);
  }

  double operator()(const Transcript& transcript, double agreement) const {
    const double confidence = std::clamp(transcript.confidence, 1e-4, 1 - 1e-4);
    std::istringstream text(transcript.text);
    const auto words = std::distance(std::istream_iterator<std::string>(text), {});
    const std::array facts{std::log(confidence / (1 - confidence)), transcript.no_speech,
                           transcript.repeated ? 1.0 : 0.0, agreement, std::log(static_cast<double>(words + 1))};
    double sum = bias;
    for (std::size_t i = 0; i < facts.size(); ++i) sum += weights[i] * facts[i];
    return 1 / (1 + std::exp(-sum));
  }

  std::string describe() const {
    std::ostringstream out;
    out << "sigmoid of " << bias;
    for (std::size_t i = 0; i < kFacts.size(); ++i)
      out << (weights[i] < 0 ? " - " : " + ") << std::abs(weights[i]) << ' ' << kFacts[i];
    return out.str();
  }
};

/// config.json: audio.hearing, if the model has it.
std::optional<detail::Json> fitted_weights(const Embedder& embedder) {
  const detail::Json audio = detail::model_entry(kWho, embedder, "audio").value_or(detail::Json::object());
  return audio.contains("hearing") ? std::optional(audio.at("hearing")) : std::nullopt;
}

}  // namespace

struct Hearing::Impl {
  Embedder embedder;
  Transcriber transcriber;
  Trust trust;
};

Hearing::Hearing(Embedder embedder, Transcriber transcriber) {
  if (!embedder.supports(Modality::audio) || !embedder.supports(Modality::text)) {
    detail::bad_argument(kWho, "the model in ", embedder.directory(), " must have a tower of audio and one of text");
  }
  const std::optional<detail::Json> fitted = fitted_weights(embedder);
  if (!fitted) {
    detail::bad_argument(kWho, "the model in ", embedder.directory(),
                         " has no weights for its transcripts (config.json: audio.hearing)");
  }
  impl_ = std::make_shared<const Impl>(Impl{std::move(embedder), std::move(transcriber), Trust(*fitted)});
}

Hearing Hearing::load(const Embedder& embedder) {
  const LoadDevice there(embedder.device());
  return {embedder, Transcriber::load(embedder.directory())};
}
Hearing Hearing::load() { return load(Embedder::load()); }

bool Hearing::available(const Embedder& embedder) {
  return embedder.supports(Modality::text) && fitted_weights(embedder).has_value();
}

Heard Hearing::hear(const AudioInput& audio) const {
  const torch::NoGradGuard no_grad;
  Heard heard;
  heard.direct = impl_->embedder.embed_audio(audio);
  Audio clip = samples_of(audio);
  const double seconds = std::min(kLeastSeconds, impl_->transcriber.window_seconds());
  const auto least = static_cast<std::size_t>(seconds * clip.sample_rate);
  if (clip.samples.size() < least) clip.samples.resize(least);
  heard.transcript = impl_->transcriber.transcribe(clip, {.whole_window = false});
  heard.vector = heard.direct;
  if (heard.transcript.text.empty()) return heard;
  heard.written = impl_->embedder.embed_text(heard.transcript.text);
  heard.trust = static_cast<float>(impl_->trust(heard.transcript, heard.direct.dot(heard.written).item<double>()));
  heard.vector = normalise(heard.trust * heard.written + (1 - heard.trust) * heard.direct);
  return heard;
}

const Embedder& Hearing::embedder() const { return impl_->embedder; }
const Transcriber& Hearing::transcriber() const { return impl_->transcriber; }

Description Hearing::describe() const {
  std::ostringstream filled;
  filled << "clips under " << kLeastSeconds << " s filled up with silence, then decoded on their own length";
  return {
      {"transcript", filled.str()},
      {"transcript.checkpoint", impl_->transcriber.directory().string()},
      {"trust", impl_->trust.describe()},
      {"trust.source", "config.json: audio.hearing"},
      {"vector", "trust x the transcript's through the text tower + (1 - trust) x the speech tower's, at unit length"}};
}

}  // namespace trine
