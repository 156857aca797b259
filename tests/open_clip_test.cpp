#include "trine/encoders/open_clip.h"

#include <cmath>
#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::ImageProcessor;
using trine::load_open_clip;

const std::string kPe = TRINE_TEST_DATA "/golden/pe/";
constexpr const char* kFile = "open_clip_config.json";
constexpr const char* kWeights = "open_clip_model.safetensors";

/// Both towers of PE-Core's smallest network, with the weights of make_pe.py.
void fill(const Directory& directory) {
  const trine::OpenClipConfig config = trine::OpenClipConfig::load(directory / kFile);
  trine::VitPe image(*config.timm);
  trine::OpenClipText text(config.text_cfg, config.embed_dim);
  std::map<std::string, Tensor> tensors{{"logit_scale", torch::empty(at::IntArrayRef{})}};
  for (const auto& [name, tensor] : trine::state_dict(*image)) tensors["visual.trunk." + name] = tensor;
  for (const auto& [name, tensor] : trine::state_dict(*text)) tensors["text." + name] = tensor;
  for (auto& [name, tensor] : tensors) {
    Tensor values = noise(name, tensor.sizes().vec());
    if (tensor.dim() > 1) {
      values = values * (2 / std::sqrt(static_cast<double>(tensor[0].numel())));
    } else {
      values = name.ends_with("weight") ? 1 + values / 4 : values / 4;
    }
    tensor = values;
  }
  trine::save_tensors(directory / kWeights, tensors);
}

TEST(OpenClip, PicturesAndTextsEqualTheReference) {
  for (const char* name : {"open_clip", "open_clip_custom"}) {
    const Golden golden(kPe + name);
    const trine::AnyEncoder encoder = load_open_clip(golden.directory);
    ASSERT_TRUE(encoder.image && encoder.text) << name;
    EXPECT_EQ(encoder.text->max_tokens(), 16);
    expect_pictures(golden, *encoder.image, ImageProcessor::load_open_clip(golden.directory / kFile));
    expect_texts(golden, *encoder.text);
  }
}

TEST(OpenClip, APerceptionEncoderByItsNameEqualsTheReference) {
  const Golden golden(kPe + "named");
  const Directory directory(golden.directory);
  fill(directory);
  const trine::AnyEncoder encoder = trine::load_encoder(directory.path());
  ASSERT_TRUE(encoder.image && encoder.text);
  EXPECT_EQ(encoder.image->dim(), 24);
  expect_pictures(golden, *encoder.image, ImageProcessor::load_open_clip(directory / kFile));
  expect_texts(golden, *encoder.text);
}

TEST(OpenClip, ADirectoryIsFoundByItsFile) {
  const trine::AnyEncoder plain = trine::load_encoder(kPe + "open_clip");
  ASSERT_TRUE(plain.similarity.has_value());
  EXPECT_EQ(plain.similarity->kind, trine::SimilarityKind::softmax);
  const trine::AnyEncoder custom = trine::load_encoder(kPe + "open_clip_custom");
  const trine::Checkpoint checkpoint = trine::Checkpoint::open(kPe + "open_clip_custom/" + kWeights);
  EXPECT_EQ(custom.similarity->kind, trine::SimilarityKind::sigmoid);
  EXPECT_FLOAT_EQ(custom.similarity->scale, std::exp(trine::load_tensor(checkpoint, "logit_scale").item<float>()));
  EXPECT_FLOAT_EQ(custom.similarity->bias, trine::load_tensor(checkpoint, "logit_bias").item<float>());
}

TEST(OpenClip, AnEmbedderHasBothModalities) {
  const Golden golden(kPe + "open_clip");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  EXPECT_EQ(model.modalities(), (std::vector<trine::Modality>{trine::Modality::image, trine::Modality::text}));
  EXPECT_LT(largest_difference(model.embed_image(picture("photo")), trine::normalise(golden.tensor("features.photo"))),
            1e-5);
}

TEST(OpenClip, VectorsDoNotDependOnTheBatch) {
  const trine::AnyEncoder encoder = load_open_clip(kPe + "open_clip");
  expect_no_batch_effect(*encoder.image, {"photo", "tall", "exact"});
  const std::vector<std::string> texts{"a red door", "", "the green apples beside the old wooden lamp"};
  const Tensor all = encoder.text->encode(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LT(largest_difference(encoder.text->encode({texts[i]})[0], all[static_cast<std::int64_t>(i)]), 1e-5);
  }
}

TEST(OpenClip, WrongConfigsAreRefusedByKey) {
  const auto load = [](const fs::path& path) { load_open_clip(path); };
  expect_refusals(kPe + "open_clip", kFile,
                  {{"/model_cfg/embed_dim", 0},
                   {"/model_cfg/embed_dim", nullptr},
                   {"/model_cfg/text_cfg", 3},
                   {"/model_cfg/vision_cfg/layers", Json::array({3, 4, 6, 3})},  // a ResNet
                   {"/model_cfg/vision_cfg/head_width", 7},
                   {"/model_cfg/vision_cfg/attentional_pool", true},
                   {"/model_cfg/vision_cfg/pool_type", "avg"},
                   {"/model_cfg/vision_cfg/mlp_ratio", 0},
                   {"/model_cfg/vision_cfg/patch_size", 17},
                   {"/model_cfg/vision_cfg/timm_model_name", "vit_base_patch16_224"},
                   {"/model_cfg/text_cfg/heads", 3},
                   {"/model_cfg/text_cfg/no_causal_mask", true},
                   {"/model_cfg/text_cfg/hf_model_name", "roberta-base"},
                   {"/model_cfg/text_cfg/pool_type", "eos"},
                   {"/model_cfg/text_cfg/vocab_size", 3, "token_embedding"},
                   {"/preprocess_cfg/resize_mode", "longest"},
                   {"/preprocess_cfg/interpolation", "random", "filter"},
                   {"/preprocess_cfg/interpolation", "nearest"}},
                  load);
  expect_refusals(kPe + "named", kFile,
                  {{"/model_cfg/vision_cfg/timm_pool", "avg"}, {"/model_cfg/vision_cfg/timm_proj", "linear"}}, load);
}

TEST(OpenClip, WrongWeightsAreRefusedByName) {
  const auto sentence = [](const std::function<void(std::map<std::string, Tensor>&)>& how) {
    const Directory directory(kPe + "open_clip_custom");
    fs::rename(directory / kWeights, directory / "model.safetensors");  // a name that is read too
    directory.change_weights(how);
    return refusal<std::runtime_error>([&] { load_open_clip(directory.path()); });
  };
  const std::string missing = sentence([](auto& tensors) { tensors.erase("text.text_projection"); });
  EXPECT_NE(missing.find("text.text_projection"), std::string::npos) << missing;
  const std::string more = sentence([](auto& tensors) { tensors["visual.extra"] = torch::ones({3}); });
  EXPECT_NE(more.find("visual.extra"), std::string::npos) << more;
  const std::string shape = sentence([](auto& tensors) { tensors["visual.proj"] = torch::ones({3, 1}); });
  EXPECT_NE(shape.find("visual.proj of shape [3, 1], wanted [16, 20]"), std::string::npos) << shape;
}

TEST(OpenClip, WrongIdsAreRefused) {
  const trine::OpenClipConfig config = trine::OpenClipConfig::load(kPe + "open_clip/" + kFile);
  const trine::OpenClipText network(config.text_cfg, config.embed_dim);
  for (const Tensor& ids : {torch::zeros({1, 17}, torch::kInt64), torch::zeros({1, 0}, torch::kInt64),
                            torch::zeros({4}, torch::kInt64), torch::zeros({1, 4})}) {
    EXPECT_NE(refusal<std::invalid_argument>([&] { network->forward(ids); }).find("1 to 16"), std::string::npos);
  }
}

}  // namespace
