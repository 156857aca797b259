#include "trine/encoders/pe_audio_video.h"

#include <algorithm>
#include <array>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"
#include "detail/names.h"
#include "encoders/config.h"
#include "encoders/pe_config.h"
#include "encoders/pe_prefix.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kWho = "PeAudioVideo";
constexpr const char* kConfig = "PeAudioVideoConfig";
constexpr const char* kLoad = "load_pe_audio_video";
constexpr const char* kModelType = "pe_audio_video";
constexpr double kNormEps = 1e-5;
constexpr detail::Names<PePair, 6> kPairs{{{PePair::audio_text, "audio_text"},
                                           {PePair::video_text, "video_text"},
                                           {PePair::audio_video, "audio_video"},
                                           {PePair::audio_video_text, "audio_video_text"},
                                           {PePair::audio_plus_text_video, "audio_plus_text_video"},
                                           {PePair::video_plus_text_audio, "video_plus_text_audio"}}};

/// What only the model of sounds and videos has.
struct BothPart {
  PeAudioVideoEncoder network{nullptr};
  PeHead head{nullptr}, text_head{nullptr}, audio_plus_text_head{nullptr}, video_plus_text_head{nullptr};
  detail::PeScore audio_video, text, audio_plus_text, video_plus_text;
};

struct Parts {
  std::string model_type;
  std::int64_t dim = 0;
  detail::Place place = {};
  detail::PeTextPart text = {};
  std::optional<detail::PeAudioPart> audio = {};
  std::optional<detail::PeVideoPart> video = {};
  std::optional<BothPart> both = {};
};

Parts load_parts(const std::filesystem::path& directory, const PeAudioOptions& options) {
  const PeAudioVideoConfig config = PeAudioVideoConfig::load(directory / "config.json");
  const PeAudioVideoEncoderConfig& both = config.audio_video_config;
  const detail::ModelFiles files = detail::open_model(kLoad, directory);
  const Checkpoint& checkpoint = files.checkpoint;
  const std::int64_t dim = config.text_config.hidden_size;
  Parts parts{.model_type = kModelType,
              .dim = dim,
              .text = detail::PeTextPart::load(kLoad, files, kModelType, config.text_config)};
  parts.audio = detail::PeAudioPart::load(kLoad, files, "audio_model.", detail::pe_encoder_prefix(checkpoint, "audio"),
                                          both.audio_config, dim, options);
  parts.video = detail::PeVideoPart::load(kLoad, files, "video_model.", detail::pe_encoder_prefix(checkpoint, "video"),
                                          both.video_config, dim);
  BothPart& part = parts.both.emplace();
  part.network = PeAudioVideoEncoder(both);
  detail::load_tower(kLoad, *part.network, checkpoint, "audio_video_encoder.",
                     {"embedder.audio_encoder.", "embedder.video_encoder."});
  const auto head = [&](const char* prefix, std::int64_t in) {
    return detail::load_pe_head(kLoad, checkpoint, prefix, in, dim);
  };
  part.head = head("audio_video_head.", both.hidden_size);
  part.text_head = head("text_audio_video_head.", dim);
  part.audio_plus_text_head = head("audio_plus_text_head.", both.audio_config.hidden_size + dim);
  part.video_plus_text_head = head("video_plus_text_head.", both.video_config.hidden_size + dim);
  part.audio_video = detail::PeScore::load(kLoad, checkpoint, "audio_video");
  part.text = detail::PeScore::load(kLoad, checkpoint, "text_audio_video");
  part.audio_plus_text = detail::PeScore::load(kLoad, checkpoint, "audio_plus_text");
  part.video_plus_text = detail::PeScore::load(kLoad, checkpoint, "video_plus_text");
  return parts;
}

/// Of a model of sounds or of videos alone.
Parts load_single(const std::filesystem::path& directory, const std::string& model_type,
                  const PeAudioOptions& options) {
  const std::filesystem::path file = directory / "config.json";
  const detail::ModelFiles files = detail::open_model(kWho, directory);
  Parts parts{.model_type = model_type};
  if (model_type == "pe_audio") {
    const PeAudioConfig config = PeAudioConfig::load(file);
    parts.dim = config.text_config.hidden_size;
    parts.text = detail::PeTextPart::load(kWho, files, "pe_audio", config.text_config);
    parts.audio = detail::PeAudioPart::load(kWho, files, "", "audio_encoder.", config.audio_config, parts.dim, options);
  } else {
    const PeVideoConfig config = PeVideoConfig::load(file);
    parts.dim = config.text_config.hidden_size;
    parts.text = detail::PeTextPart::load(kWho, files, "pe_video", config.text_config);
    parts.video = detail::PeVideoPart::load(kWho, files, "", "video_encoder.", config.video_config, parts.dim);
  }
  return parts;
}

/// Steps without the class token's. (1, 1 + T, D) -> (1, T, D)
Tensor steps_of(const Tensor& states) { return states.slice(1, 1); }

Tensor pooled(const Tensor& states) { return states.select(1, 0); }

/// One state beside that of each text. (1, A), (M, B) -> (M, A + B)
Tensor beside(const Tensor& one, const Tensor& texts) {
  return torch::cat({one.expand({texts.size(0), -1}), texts}, 1);
}

}  // namespace

PeAudioVideoConfig PeAudioVideoConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_pe(kConfig, config_json, kModelType);
  const detail::Json both = detail::read_part(kConfig, json, "audio_video_config");
  PeAudioVideoConfig config;
  PeAudioVideoEncoderConfig& encoder = config.audio_video_config;
  detail::read_pe_transformer(kConfig, both, encoder);
  encoder.audio_config = detail::read_pe_audio(kConfig, detail::read_part(kConfig, both, "audio_config"));
  encoder.video_config = detail::read_pe_video(kConfig, detail::read_part(kConfig, both, "video_config"));
  if (encoder.audio_config.hidden_size != encoder.video_config.hidden_size) {
    detail::failure(kConfig, "\"hidden_size\" of sounds is ", encoder.audio_config.hidden_size, ", of videos ",
                    encoder.video_config.hidden_size, ": the reference wants one number");
  }
  config.text_config = detail::read_pe_text(kConfig, json);
  return config;
}

PeAudioVideoEncoderImpl::PeAudioVideoEncoderImpl(const PeAudioVideoEncoderConfig& config) : PeTransformerImpl(config) {
  const std::int64_t audio = config.audio_config.hidden_size, video = config.video_config.hidden_size;
  video_projection_ = register_at(*this, "embedder.video_proj", Conv1d(video, audio, 1));
  video_norm_ = register_at(*this, "embedder.video_norm", LayerNorm(audio, kNormEps));
  both_projection_ = register_at(*this, "embedder.concat_modality_proj", Linear(audio + video, config.hidden_size));
  data_projection_ = register_at(*this, "embedder.data_proj", Linear(config.hidden_size, config.hidden_size));
}

Tensor PeAudioVideoEncoderImpl::forward(const Tensor& audio, const Tensor& video) const {
  Tensor frames = video_projection_->forward(video.transpose(1, 2));  // (N, D, F)
  if (frames.size(2) != audio.size(1)) frames = torch::upsample_nearest1d(frames, {audio.size(1)});
  const Tensor both = torch::cat({audio, video_norm_->forward(frames.transpose(1, 2))}, -1);
  return states_of(data_projection_->forward(both_projection_->forward(both)));
}

std::string_view to_string(PePair pair) { return detail::name_of(kPairs, pair); }

PePair pe_pair(std::string_view name) {
  if (const auto known = detail::value_of(kPairs, name)) return *known;
  std::string all;
  for (const auto& [pair, text] : kPairs) all += (all.empty() ? "" : ", ") + std::string(text);
  detail::bad_argument(kWho, "the pair is ", detail::shown(std::string(name)), ", wanted one of ", all);
}

struct PeAudioVideo::Impl {
  Parts parts;

  std::string known() const { return parts.both ? "audio, video, text" : parts.audio ? "audio, text" : "video, text"; }

  /// Nothing where the model has no such pair.
  std::optional<detail::PeScore> score_of(PePair pair) const {
    switch (pair) {
      case PePair::audio_text:
        return parts.audio ? std::optional(parts.audio->score) : std::nullopt;
      case PePair::video_text:
        return parts.video ? std::optional(parts.video->score) : std::nullopt;
      case PePair::audio_video:
        return parts.both ? std::optional(parts.both->audio_video) : std::nullopt;
      case PePair::audio_video_text:
        return parts.both ? std::optional(parts.both->text) : std::nullopt;
      case PePair::audio_plus_text_video:
        return parts.both ? std::optional(parts.both->audio_plus_text) : std::nullopt;
      case PePair::video_plus_text_audio:
        return parts.both ? std::optional(parts.both->video_plus_text) : std::nullopt;
    }
    return std::nullopt;
  }

  Tensor audio_states(const Audio& clip) const {
    if (!parts.audio) detail::bad_argument("embed", "the model has ", known(), ", it was given audio");
    const detail::PeAudioPart& audio = *parts.audio;
    const std::vector<float> samples = resample(clip.samples, clip.sample_rate, audio.sample_rate);
    if (samples.empty() || std::ssize(samples) > audio.most) {
      detail::bad_argument("embed", "the clip has ", clip.seconds(), " s, wanted above 0, at most ",
                           static_cast<double>(audio.most) / audio.sample_rate);
    }
    return audio.states(samples);
  }

  Tensor video_states(const std::vector<Image>& frames) const {
    if (!parts.video) detail::bad_argument("embed", "the model has ", known(), ", it was given a video");
    if (frames.empty()) detail::bad_argument("embed", "the video has no frames");
    std::vector<Tensor> pixels;
    for (const Image& frame : frames) pixels.push_back(parts.video->processor.frame(frame));
    return parts.video->states(torch::stack(pixels));
  }
};

PeAudioVideo::PeAudioVideo(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

PeAudioVideo PeAudioVideo::load(const std::filesystem::path& directory, const PeAudioOptions& options) {
  const detail::Json json = detail::read_json(kWho, directory / "config.json");
  const auto type = detail::get<std::string>(kWho, json, "model_type");
  if (type != kModelType && type != "pe_audio" && type != "pe_video") {
    detail::failure(kWho, "\"model_type\" is ", detail::shown(type), ", known are pe_audio_video, pe_audio, pe_video");
  }
  return PeAudioVideo(std::make_shared<const Impl>(
      Impl{type == kModelType ? load_parts(directory, options) : load_single(directory, type, options)}));
}

std::int64_t PeAudioVideo::dim() const { return impl_->parts.dim; }
bool PeAudioVideo::has_audio() const { return impl_->parts.audio.has_value(); }
bool PeAudioVideo::has_video() const { return impl_->parts.video.has_value(); }

std::vector<PePair> PeAudioVideo::pairs() const {
  std::vector<PePair> found;
  for (const auto& [pair, name] : kPairs) {
    if (impl_->score_of(pair)) found.push_back(pair);
  }
  return found;
}

PeEmbeddings PeAudioVideo::embed(const PeInputs& inputs) const {
  if (!inputs.audio && !inputs.video && !inputs.text) {
    detail::bad_argument("embed", "a clip, a video or texts are wanted, there is none");
  }
  const torch::NoGradGuard no_grad;
  const Parts& parts = impl_->parts;
  const detail::PlaceScope scope(parts.place);
  const auto through = [&](const PeHead& head, const Tensor& x) { return parts.place.here(head->forward(x)); };
  PeEmbeddings found;
  Tensor audio, video;
  if (inputs.audio) {
    audio = impl_->audio_states(*inputs.audio);
    found.audio = through(parts.audio->head, pooled(audio))[0];
  }
  if (inputs.video) {
    video = impl_->video_states(*inputs.video);
    found.video = through(parts.video->head, pooled(video))[0];
  }
  if (inputs.audio && inputs.video) {
    const Tensor both = parts.both->network->forward(steps_of(audio), steps_of(video));
    found.audio_video = through(parts.both->head, pooled(both))[0];
  }
  if (!inputs.text) return found;
  const Tensor texts = parts.place.there(parts.text.states(*inputs.text));
  if (parts.audio) found.text_audio = through(parts.audio->text_head, texts);
  if (parts.video) found.text_video = through(parts.video->text_head, texts);
  if (!parts.both) return found;
  found.text_audio_video = through(parts.both->text_head, texts);
  if (inputs.audio) found.audio_plus_text = through(parts.both->audio_plus_text_head, beside(pooled(audio), texts));
  if (inputs.video) found.video_plus_text = through(parts.both->video_plus_text_head, beside(pooled(video), texts));
  return found;
}

Tensor PeAudioVideo::logits(PePair pair, const Tensor& a, const Tensor& b) const {
  const auto score = impl_->score_of(pair);
  if (!score) {
    detail::bad_argument("logits", "the model has ", impl_->known(), ", it has no scores of ", to_string(pair));
  }
  const auto rows = [](const Tensor& vectors) { return vectors.dim() == 1 ? vectors.unsqueeze(0) : vectors; };
  for (const Tensor& vectors : {a, b}) {
    if (!vectors.defined() || vectors.dim() < 1 || vectors.dim() > 2 || vectors.size(-1) != dim() ||
        vectors.scalar_type() != torch::kFloat32) {
      detail::bad_argument("logits", "vectors are (N, ", dim(), ") or (", dim(), ") of float32, got ",
                           vectors.defined() ? c10::str(vectors.sizes()) : "nothing");
    }
  }
  return rows(a).mm(rows(b).t()) * score->scale + score->bias;
}

Description PeAudioVideo::describe() const {
  const Parts& parts = impl_->parts;
  Description lines{{"model_type", parts.model_type},
                    {"dimensions", std::to_string(parts.dim)},
                    {"device", parts.place.device().str()}};
  const auto add = [&](const std::string& prefix, const Description& facts) {
    for (const auto& [key, value] : facts) {
      if (key != "model_type" && key != "similarity") lines.emplace_back(prefix + key, value);
    }
  };
  if (parts.audio) add("audio.", parts.audio->tower(kModelType, parts.text)->describe());
  if (parts.video) add("video.", parts.video->tower(kModelType, parts.text)->describe());
  add("text.", parts.text.model->describe());
  for (const PePair pair : pairs()) {
    lines.emplace_back(std::string(to_string(pair)) + ".similarity", impl_->score_of(pair)->describe());
  }
  return lines;
}

AnyEncoder load_pe_audio_video(const std::filesystem::path& directory, const PeAudioOptions& options) {
  const Parts parts = load_parts(directory, options);
  return {.image = parts.video->tower(kModelType, parts.text),
          .text = parts.text.tower(parts.video->text_head, "video_model.text_video_head."),
          .audio = parts.audio->tower(kModelType, parts.text)};
}

}  // namespace trine
