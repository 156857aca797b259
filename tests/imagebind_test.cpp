#include "trine/encoders/imagebind.h"

#include <cmath>
#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::ImageBindConfig;
using trine::load_imagebind;

const std::string kSmall = TRINE_TEST_DATA "/golden/imagebind/small";
const std::string kClip = TRINE_TEST_DATA "/golden/spectrograms/clip.safetensors";

/// The first samples of the clip again and again, as make_imagebind.py has them.
trine::Audio sound(std::int64_t samples) {
  static const trine::Checkpoint file = trine::Checkpoint::open(kClip);
  static const Tensor clip = trine::load_tensor(file, file.names().front()).to(torch::kFloat32) / 32'768;
  const Tensor repeated = clip.repeat({samples / clip.numel() + 1}).slice(0, 0, samples).contiguous();
  const float* begin = repeated.const_data_ptr<float>();
  return {16'000, {begin, begin + samples}};
}

TEST(ImageBind, PicturesAndTextsEqualTheReference) {
  const Golden golden(kSmall);
  const trine::AnyEncoder encoder = trine::load_encoder(kSmall);
  ASSERT_TRUE(encoder.image && encoder.text && encoder.audio);
  EXPECT_EQ(encoder.image->dim(), 12);
  EXPECT_EQ(encoder.text->max_tokens(), 16);
  for (const std::string& name : golden.names("features.")) {
    const Tensor pixels = encoder.image->preprocess(picture(name));
    if (golden.expected.contains("pixels." + name)) {
      EXPECT_TRUE(torch::equal(pixels, golden.tensor("pixels." + name)));
    }
    expect_features(encoder.image->encode(pixels.unsqueeze(0))[0], golden.tensor("features." + name), name);
  }
  expect_texts(golden, *encoder.text);
}

TEST(ImageBind, ClipsEqualTheReference) {
  const Golden golden(kSmall);
  const ImageBindConfig config = ImageBindConfig::load(golden.directory / "config.json");
  const auto whole = load_imagebind(kSmall, {.whole_clips = true}).audio;
  const auto pieces = load_imagebind(kSmall).audio;
  for (const std::string& length : golden.names("vector.")) {
    const trine::Audio clip = sound(std::stoll(length));
    const Tensor mels = trine::imagebind_mels(clip.samples, config);
    EXPECT_TRUE(torch::equal(mels, whole->preprocess(clip)));
    const Tensor some = mels.slice(2, 0, {}, 8).slice(3, 0, {}, 8);
    EXPECT_LT(relative_difference(some, golden.tensor("mels." + length)), 1e-4) << length;
    const Tensor vector = whole->encode(clip);
    ASSERT_EQ(vector.sizes(), (std::vector<std::int64_t>{1, 12}));
    EXPECT_LT(relative_difference(vector[0], golden.tensor("vector." + length)), 1e-4) << length;
    EXPECT_GT(smallest_cosine(vector[0], golden.tensor("vector." + length)), 0.99999) << length;
    if (std::ssize(clip.samples) <= 96'000) {
      EXPECT_TRUE(torch::equal(pieces->encode(clip), vector)) << length;
    }
  }
}

TEST(ImageBind, ClipsOverSixSecondsAreForWindows) {
  const auto encoder = load_imagebind(kSmall).audio;
  EXPECT_EQ(encoder->max_seconds(), 6);
  EXPECT_EQ(encoder->sample_rate(), 16'000);
  EXPECT_THROW(encoder->encode(sound(96'001)), std::invalid_argument);
  EXPECT_THROW(encoder->encode(sound(399)), std::invalid_argument);
}

TEST(ImageBind, TheScaleIsTheTextsUpToAHundred) {
  EXPECT_FLOAT_EQ(load_imagebind(kSmall).similarity->scale, std::exp(4.0f));
  const Directory directory(kSmall);
  directory.change_weights(
      [](auto& tensors) { tensors["modality_postprocessors.text.1.log_logit_scale"] = torch::tensor(9.0f); });
  EXPECT_EQ(load_imagebind(directory.path()).similarity->scale, 100);
}

TEST(ImageBind, AnEmbedderHasAllThreeModalities) {
  const trine::Embedder model = trine::Embedder::load(kSmall);
  EXPECT_EQ(model.modalities().size(), 3u);
  EXPECT_EQ(model.dim(), 12);
  EXPECT_NEAR(
      model.embed({.image = picture("photo"), .text = "a red door", .audio = sound(30'000)}).norm().item<float>(), 1,
      1e-5);
}

TEST(ImageBind, VectorsDoNotDependOnTheBatch) {
  expect_no_batch_effect(*load_imagebind(kSmall).image, {"photo", "tall", "exact", "strip"});
}

TEST(ImageBind, WrongConfigsAreRefusedByKey) {
  expect_refusals(kSmall, "config.json",
                  {{"/model_type", "image_bind"},
                   {"/out_embed_dim", 11, "modality_heads"},
                   {"/vision_num_heads", 3},
                   {"/vision_num_blocks", 3, "vision.blocks.2"},
                   {"/audio_num_blocks", 1, "audio.blocks.1"},
                   {"/text_embed_dim", 0},
                   {"/patch_size", 17},
                   {"/video_frames", 65},
                   {"/audio_kernel_size", 129},
                   {"/audio_stride", 9, "pos_embed"},
                   {"/audio_num_mel_bins", 257},
                   {"/vocab_size", 20, "token_embedding"},
                   {"/context_length", 1.5}},
                  [](const fs::path& path) { load_imagebind(path); });
}

TEST(ImageBind, WrongWeightsAreRefusedByName) {
  const auto load = [](const fs::path& path) { load_imagebind(path); };
  expect_weight_refusals(kSmall, "modality_trunks.audio.blocks.0.attn.bias_k", "modality_trunks.vision.blocks.0.gamma",
                         load);
  expect_weight_refusals(kSmall, "modality_heads.text.proj.1.weight", "modality_heads.text.proj.2.weight", load);
}

TEST(ImageBind, WrongMelsAreRefused) {
  const trine::ImageBindAudio network(ImageBindConfig::load(kSmall + "/config.json"));
  EXPECT_NE(refusal<std::invalid_argument>([&] {
              network->forward(torch::zeros({1, 1, 128, 200}));
            }).find("204"),
            std::string::npos);
}

}  // namespace
