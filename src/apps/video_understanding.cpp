#include "trine/apps/video_understanding.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "module_folder.h"
#include "tensor_check.h"

namespace trine {

namespace rnn = torch::nn::utils::rnn;
using torch::Tensor;

namespace {

constexpr const char* kWho = "VideoUnderstanding";
constexpr const char* kModelType = "video_understanding";

void check_options(const VideoUnderstandingOptions& o) {
  const std::int64_t least = std::min({o.frame_dim, o.audio_dim, o.text_dim, o.hidden_dim, o.out_dim, o.num_layers});
  if (least < 1) {
    detail::bad_argument(kWho, "frame_dim, audio_dim, text_dim, hidden_dim, out_dim and num_layers must be at least 1");
  }
  if (o.num_heads < 1 || 2 * o.hidden_dim % o.num_heads != 0) {
    detail::bad_argument(kWho, "twice hidden_dim ", o.hidden_dim, " is not a multiple of num_heads ", o.num_heads);
  }
}

/// What is given, checked, with the sound and the mask there in any case; the mask on the CPU, where it is read.
VideoSteps checked(const VideoUnderstandingOptions& o, const VideoSteps& given) {
  VideoSteps steps = given;
  const bool fits = detail::is_floats(steps.frames, {-1, -1, o.frame_dim}) && steps.frames.size(0) > 0;
  if (!fits) {
    detail::bad_argument(kWho, "frames must be floats (B, T, ", o.frame_dim, "); got ", detail::shown(steps.frames));
  }
  const std::int64_t batch = steps.frames.size(0), length = steps.frames.size(1);
  if (!steps.audio.defined()) steps.audio = steps.frames.new_zeros({batch, length, o.audio_dim});
  if (!detail::is_floats(steps.audio, {batch, length, o.audio_dim})) {
    detail::bad_argument(kWho, "audio must be floats (", batch, ", ", length, ", ", o.audio_dim, "); got ",
                         detail::shown(steps.audio));
  }
  steps.mask = detail::mask_or_ones(kWho, "mask", steps.mask, {batch, length}, torch::empty({0}, torch::kCPU)).cpu();
  const Tensor empty = ~steps.mask.any(1);
  if (empty.any().item<bool>()) {
    detail::bad_argument(kWho, "video ", empty.nonzero()[0].item<std::int64_t>(), " has no frame");
  }
  // the LSTM's way back starts at each video's last real frame
  const Tensor torn = (steps.mask.slice(1, 1) & ~steps.mask.slice(1, 0, length - 1)).any(1);
  if (torn.any().item<bool>()) {
    detail::bad_argument(kWho, "the real frames of a video come first; in video ",
                         torn.nonzero()[0].item<std::int64_t>(), " one stands behind padding");
  }
  if (steps.transcript.defined() && !detail::is_floats(steps.transcript, {batch, -1, o.text_dim})) {
    detail::bad_argument(kWho, "a transcript must be floats (", batch, ", S, ", o.text_dim, "); got ",
                         detail::shown(steps.transcript));
  }
  if (steps.transcript_mask.defined() && !steps.transcript.defined()) {
    detail::bad_argument(kWho, "a transcript_mask needs a transcript, and there is none");
  }
  return steps;
}

}  // namespace

VideoUnderstandingImpl::VideoUnderstandingImpl(const VideoUnderstandingOptions& o) : options_(o) {
  check_options(o);
  const std::int64_t width = 2 * o.hidden_dim;
  const auto lstm = torch::nn::LSTMOptions(o.frame_dim + o.audio_dim, o.hidden_dim)
                        .num_layers(o.num_layers)
                        .batch_first(true)
                        .bidirectional(true);
  temporal_encoder_ = register_module("temporal_encoder", torch::nn::LSTM(lstm));
  transcript_proj_ = register_module("transcript_proj", Linear(o.text_dim, width));
  transcript_attention_ = register_module("transcript_attention", CrossModalAttention(width, o.num_heads));
  norm_ = register_module("norm", LayerNorm(width));
  importance_ = register_module("importance", Linear(width, 1));
  out_proj_ = register_module("out_proj", Linear(width, o.out_dim));
  for (torch::nn::Module* layer :
       std::initializer_list<torch::nn::Module*>{&*transcript_proj_, &*norm_, &*importance_, &*out_proj_}) {
    reset_parameters(*layer);
  }
}

UnderstoodVideo VideoUnderstandingImpl::forward(const VideoSteps& given) {
  const VideoSteps steps = checked(options_, given);
  const Tensor x = torch::cat({steps.frames, steps.audio}, -1);
  const auto packed = rnn::pack_padded_sequence(x, steps.mask.sum(1), /*batch_first=*/true, /*enforce_sorted=*/false);
  const auto walked = std::get<0>(temporal_encoder_->forward_with_packed_input(packed));
  Tensor h = std::get<0>(rnn::pad_packed_sequence(walked, /*batch_first=*/true, 0.0, x.size(1)));  // (B, T, 2 hidden)
  if (steps.transcript.defined()) {
    const Tensor text = transcript_proj_->forward(steps.transcript);
    h = norm_->forward(h + transcript_attention_->forward(h, text, {}, steps.transcript_mask).output);
  }
  const Tensor score = importance_->forward(h).squeeze(-1).masked_fill(~steps.mask.to(x.device()), -INFINITY);
  const Tensor importance = score.softmax(-1);
  return {normalise(out_proj_->forward((importance.unsqueeze(-1) * h).sum(1))), importance};
}

void VideoUnderstandingImpl::save(const std::filesystem::path& directory) const {
  const detail::Json config{{"model_type", kModelType},          {"frame_dim", options_.frame_dim},
                            {"audio_dim", options_.audio_dim},   {"text_dim", options_.text_dim},
                            {"hidden_dim", options_.hidden_dim}, {"out_dim", options_.out_dim},
                            {"num_layers", options_.num_layers}, {"num_heads", options_.num_heads}};
  detail::save_module(kWho, directory, config, *this);
}

std::shared_ptr<VideoUnderstandingImpl> VideoUnderstandingImpl::load(const std::filesystem::path& directory) {
  return detail::load_module(kWho, directory, kModelType, [](const detail::Json& config) {
    const auto size = [&](const char* key, std::int64_t most) { return detail::read_size(kWho, config, key, most); };
    const VideoUnderstandingOptions o{.frame_dim = size("frame_dim", detail::kMostWidth),
                                      .audio_dim = size("audio_dim", detail::kMostWidth),
                                      .text_dim = size("text_dim", detail::kMostWidth),
                                      .hidden_dim = size("hidden_dim", detail::kMostWidth),
                                      .out_dim = size("out_dim", detail::kMostWidth),
                                      .num_layers = size("num_layers", detail::kMostLayers),
                                      .num_heads = size("num_heads", detail::kMostWidth)};
    const double width = 2.0 * static_cast<double>(o.hidden_dim);
    const auto inputs = static_cast<double>(o.frame_dim + o.audio_dim);
    const double lstm = 4.0 * width * (inputs + static_cast<double>(o.num_layers) * 1.5 * width);
    detail::check_weights(kWho, lstm + width * (4.0 * width + static_cast<double>(o.text_dim + o.out_dim)));
    return std::make_shared<VideoUnderstandingImpl>(o);
  });
}

}  // namespace trine
