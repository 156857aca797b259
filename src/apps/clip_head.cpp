#include "apps/clip_head.h"

#include "apps/model_heads.h"
#include "detail/error.h"
#include "trine/device.h"

namespace trine::detail {

ClipHead::ClipHead(const char* who, const Embedder& embedder, const Json& entry)
    : features_([&] {
        const LoadDevice there(embedder.device());
        return ClipFeatures(who, encoder_folder(who, embedder, Modality::audio, "whisper"));
      }()),
      labels_(get<std::vector<std::string>>(who, entry, "labels")),
      block_(get<std::int64_t>(who, entry, "block")),
      trained_on_(get<std::string>(who, entry, "trained_on")),
      out_(features_.dim(), std::ssize(labels_)) {
  if (block_ < 1 || block_ > features_.blocks()) {
    failure(who, "\"block\" is ", block_, ", wanted 1 to ", features_.blocks());
  }
  const LoadDevice here(torch::kCPU);  // one layer, behind features that lie here
  load_weights(*out_, heads_file(who, embedder, entry));
}

std::vector<Score> ClipHead::predict(const AudioInput& audio) const {
  const torch::NoGradGuard no_grad;
  return scores_of(labels_, out_->forward(features_.of(audio, block_)).softmax(0));
}

Description ClipHead::describe() const {
  return {{"input", "16000 Hz mono, other rates by soxr HQ; pieces of 30 s"},
          {"features", "mean and standard deviation over time after block " + std::to_string(block_) + " of " +
                           std::to_string(features_.blocks()) + " of Whisper's encoder"},
          {"head", "linear, softmax over " + std::to_string(labels_.size()) + " labels"},
          {"trained_on", trained_on_}};
}

}  // namespace trine::detail
