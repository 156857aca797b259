#include "trine/apps/sound.h"

#include "apps/clip_head.h"
#include "apps/model_heads.h"

namespace trine {

namespace {

constexpr const char* kWho = "SoundRecognizer";

}  // namespace

struct SoundRecognizer::Impl {
  detail::ClipHead head;
};

SoundRecognizer::SoundRecognizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

SoundRecognizer SoundRecognizer::load(const Embedder& embedder) {
  const torch::NoGradGuard no_grad;
  return SoundRecognizer(std::make_shared<const Impl>(
      Impl{detail::ClipHead(kWho, embedder, detail::heads_entry(kWho, embedder, "sound"))}));
}

std::vector<Score> SoundRecognizer::recognize(const AudioInput& audio) const { return impl_->head.predict(audio); }
Description SoundRecognizer::describe() const { return impl_->head.describe(); }

}  // namespace trine
