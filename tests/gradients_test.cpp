#include "trine/encoders/gradients.h"

#include "text_testing.h"
#include "trine/embedder.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Embedder;
using trine::Modality;
using trine::RecordGradients;

const fs::path kData = fs::path(TRINE_TEST_DATA) / "golden";

/// What a modality of a tiny model makes of two inputs. -> (2, dim)
Tensor vectors_of(const Embedder& model, Modality modality) {
  switch (modality) {
    case Modality::image: {
      trine::Image light{.width = 40, .height = 30, .pixels = std::vector<std::uint8_t>(40 * 30 * 3)}, dark = light;
      for (std::size_t i = 0; i < light.pixels.size(); ++i) {
        light.pixels[i] = static_cast<std::uint8_t>(i * 7 % 256);
        dark.pixels[i] = static_cast<std::uint8_t>(i * i % 90);
      }
      return model.embed_images({light, dark});
    }
    case Modality::text:
      return model.embed_texts({"a sour lemon", "milk"});
    case Modality::audio:
      break;
  }
  trine::Audio low{16'000, std::vector<float>(12'000)}, high = low;
  for (std::size_t i = 0; i < low.samples.size(); ++i) {
    low.samples[i] = 0.3f * std::sin(0.05f * static_cast<float>(i));
    high.samples[i] = 0.3f * std::sin(0.31f * static_cast<float>(i)) * std::cos(0.002f * static_cast<float>(i));
  }
  return model.embed_audios({low, high});
}

/// Steps along the gradient change the value as it says, and what is saved gives what was in memory.
void expect_trainable(const fs::path& folder, Modality modality) {
  SCOPED_TRACE(folder.string() + " " + std::string(to_string(modality)));
  const Embedder model = Embedder::load(folder);
  const Tensor before = vectors_of(model, modality);
  const auto weights = model.weights(modality);
  ASSERT_GT(weights.size(), 4u);
  EXPECT_LT(largest_difference(vectors_of(model, modality), before), 1e-5);
  EXPECT_FALSE(vectors_of(model, modality).requires_grad());

  const Tensor direction = noise("direction", {before.size(1)});
  const auto value = [&] { return vectors_of(model, modality).matmul(direction).sum(); };
  {
    const RecordGradients record;
    value().backward();
  }
  EXPECT_FALSE(RecordGradients::on());
  std::vector<std::pair<Tensor, Tensor>> steps;  // a weight and its gradient
  double norm = 0;
  for (const auto& [name, weight] : weights) {
    if (!weight.grad().defined()) continue;  // of another task: a pooler
    ASSERT_TRUE(weight.grad().isfinite().all().item<bool>()) << name;
    steps.emplace_back(weight, weight.grad());
    norm += weight.grad().square().sum().item<double>();
  }
  norm = std::sqrt(norm);
  ASSERT_GT(norm, 0);
  const torch::NoGradGuard no_grad;
  const double length = 1e-3 / norm;  // the value changes by about 0.001 either way: of less, rounding hides a part
  const auto walk = [&](double by) {
    for (auto& [weight, gradient] : steps) weight.add_(gradient, by / norm);
  };
  walk(length);
  const double above = value().item<double>();
  walk(-2 * length);
  const double below = value().item<double>();
  EXPECT_NEAR((above - below) / (2 * length), norm, 0.05 * norm);

  walk(20 * length);
  const Tensor changed = vectors_of(model, modality);
  EXPECT_GT(largest_difference(changed, before), 1e-4);
  const Directory saved;
  model.save(saved / "model");
  const Embedder loaded = Embedder::load(saved / "model");
  EXPECT_LT(largest_difference(vectors_of(loaded, modality), changed), 1e-5);
  for (const Modality other : loaded.modalities()) {
    if (other == modality) continue;
    EXPECT_TRUE(vectors_of(loaded, other).equal(vectors_of(Embedder::load(folder), other)));
  }
}

TEST(Gradients, OfTextTowers) {
  for (const char* name : {"bert", "distilbert", "modernbert", "mpnet", "roberta", "xlm-roberta"}) {
    expect_trainable(TextDirectory(name).path(), Modality::text);
  }
}

TEST(Gradients, OfImageTowers) {
  for (const char* name :
       {"vision/clip_vision", "vision/clip_vision_pooled", "vision/siglip_vision", "vision/vit", "vision/dinov2",
        "vision/dinov2_registers", "vision/dinov2_swiglu", "pe/core", "pe/giant", "pe/lang", "pe/spatial"}) {
    expect_trainable(kData / name, Modality::image);
  }
}

TEST(Gradients, OfTowersOfPairs) {
  for (const char* name : {"vision/clip", "vision/siglip", "vision/siglip2", "pe/open_clip", "pe/open_clip_custom",
                           "imagebind/small", "pe_video/small", "pe_video/both"}) {
    expect_trainable(kData / name, Modality::image);
    expect_trainable(kData / name, Modality::text);
  }
}

TEST(Gradients, OfSounds) {
  for (const char* name :
       {"encoders/whisper", "spectrograms/ast", "spectrograms/clap_fused", "spectrograms/clap_unfused",
        "spectrograms/clap_audio", "imagebind/small", "pe_audio/small", "pe_video/both", "waves/wav2vec2",
        "waves/wav2vec2_stable", "waves/hubert", "waves/hubert_batch_norm", "waves/wavlm", "waves/wavlm_stable"}) {
    expect_trainable(kData / name, Modality::audio);
  }
}

TEST(Gradients, OfTextsBesideSounds) {
  for (const char* name : {"spectrograms/clap_fused", "spectrograms/clap_text", "pe_audio/small"}) {
    expect_trainable(kData / name, Modality::text);
  }
}

TEST(Gradients, AreRecordedWhereOneLives) {
  EXPECT_FALSE(RecordGradients::on());
  {
    const RecordGradients outer;
    {
      const RecordGradients inner;
    }
    EXPECT_TRUE(RecordGradients::on());
  }
  EXPECT_FALSE(RecordGradients::on());
}

TEST(Gradients, OfWhatIsNotThereAreRefused) {
  const Embedder waves = Embedder::load(kData / "waves/wav2vec2");
  EXPECT_NE(refusal<std::invalid_argument>([&] { waves.weights(Modality::text); }).find("has no text tower"),
            std::string::npos);
  EXPECT_NE(refusal<std::invalid_argument>([&] { waves.save(waves.directory()); }).find("loaded from"),
            std::string::npos);
}

}  // namespace
