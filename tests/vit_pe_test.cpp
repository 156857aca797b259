#include "trine/encoders/vit_pe.h"

#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::ImageProcessor;
using trine::load_vit_pe;

const std::string kPe = TRINE_TEST_DATA "/golden/pe/";

TEST(VitPe, PicturesEqualTheReference) {
  for (const char* name : {"core", "giant", "lang", "spatial"}) {
    const Golden golden(kPe + name);
    expect_pictures(golden, *load_vit_pe(golden.directory),
                    ImageProcessor::load_timm(golden.directory / "config.json"));
  }
}

TEST(VitPe, ADirectoryIsFoundByItsArchitecture) {
  const trine::AnyEncoder encoder = trine::load_encoder(kPe + "core");
  EXPECT_TRUE(encoder.image && !encoder.text && !encoder.audio && !encoder.similarity);
  EXPECT_EQ(encoder.image->dim(), 20);  // classes
  EXPECT_EQ(trine::load_encoder(kPe + "giant").image->dim(), 16);
  const trine::Embedder model = trine::Embedder::load(kPe + "core");
  EXPECT_LT(largest_difference(model.embed_image(picture("photo")),
                               trine::normalise(Golden(kPe + "core").tensor("features.photo"))),
            1e-5);
}

TEST(VitPe, TheWrapperOfTransformersKeepsItOneLevelDown) {
  const Golden golden(kPe + "giant");
  const Directory directory(golden.directory);
  directory.change("config.json", [](Json& json) {
    json["model_type"] = "timm_wrapper";
    json["num_classes"] = 7;  // TimmWrapperModel has no last layer
    json["model_args"].erase("num_classes");
  });
  directory.change_weights([](auto& tensors) {
    std::map<std::string, Tensor> wrapped;
    for (const auto& [name, tensor] : tensors) wrapped["timm_model." + name] = tensor;
    tensors = wrapped;
  });
  const trine::AnyEncoder encoder = trine::load_encoder(directory.path());
  ASSERT_TRUE(encoder.image);
  EXPECT_EQ(encoder.image->dim(), 16);
  expect_pictures(golden, *encoder.image, ImageProcessor::load_timm(directory / "config.json"));
}

TEST(VitPe, ArchitecturesHaveTheirSizes) {
  const trine::VitPeConfig base = trine::VitPeConfig::of("vit_pe_core_base_patch16_224", 1024);
  EXPECT_EQ(base.transformer.hidden_size, 768);
  EXPECT_EQ(base.transformer.intermediate_size, 3072);
  EXPECT_EQ(base.ref_feat_shape, 14);
  EXPECT_EQ(base.dim(), 1024);
  const trine::VitPeConfig giant = trine::VitPeConfig::of("vit_pe_spatial_gigantic_patch14_448", 0);
  EXPECT_EQ(giant.transformer.intermediate_size, 8960);
  EXPECT_TRUE(giant.layer_scale && !giant.class_token);
  EXPECT_EQ(giant.global_pool, "avg");
  EXPECT_EQ(giant.dim(), 1536);
  EXPECT_TRUE(trine::is_vit_pe("vit_pe_lang_large_patch14_448"));
  EXPECT_FALSE(trine::is_vit_pe("vit_base_patch16_224"));
  EXPECT_THROW(trine::VitPeConfig::of("vit_base_patch16_224", 0), std::runtime_error);
}

TEST(VitPe, VectorsDoNotDependOnTheBatch) {
  expect_no_batch_effect(*load_vit_pe(kPe + "core"), {"photo", "tall", "exact", "small", "photo"});
}

TEST(VitPe, DescribesItself) {
  const std::string core = described(load_vit_pe(kPe + "core")->describe());
  for (const char* part : {"model_type: vit_pe_core_base_patch16_224", "processor: timm",
                           "to 16 x 16 whatever the shape, bilinear", "a learned query", "then a linear layer"}) {
    EXPECT_NE(core.find(part), std::string::npos) << part << " in\n" << core;
  }
  const std::string lang = described(load_vit_pe(kPe + "lang")->describe());
  EXPECT_NE(lang.find("the mean of the patches"), std::string::npos) << lang;
  EXPECT_NE(lang.find("short side to 17 px"), std::string::npos) << lang;  // 16 / 0.9
}

TEST(VitPe, WrongConfigsAreRefusedByKey) {
  const auto load = [](const fs::path& path) { load_vit_pe(path); };
  expect_refusals(kPe + "core", "config.json",
                  {{"/architecture", "vit_pe_core_unknown"},
                   {"/architecture", 3},
                   {"/model_args/embed_dim", 20, "num_heads"},  // heads of 10 channels
                   {"/model_args/embed_dim", 18, "num_heads"},
                   {"/model_args/depth", 3, "blocks.2"},
                   {"/model_args/depth", 1, "blocks.1"},
                   {"/model_args/num_heads", 0},
                   {"/model_args/mlp_ratio", -1},
                   {"/model_args/global_pool", "avg"},
                   {"/model_args/in_chans", 1},
                   {"/model_args/qk_norm", true},
                   {"/model_args/patch_size", 17},
                   {"/model_args/img_size", Json::array({16, 24})},
                   {"/model_args/img_size", 20, "image_size"},  // other than the transform's
                   {"/model_args/rope_temperature", 0},
                   {"/model_args/rope_grid_offset", 1e9},
                   {"/model_args/init_values", 0.1, "gamma_1"},
                   {"/model_args/num_classes", -1},
                   {"/model_args/attn_pool_num_heads", 3},
                   {"/model_args/attn_pool_mlp_ratio", 65},
                   {"/pretrained_cfg/crop_mode", "border"},
                   {"/pretrained_cfg/crop_pct", 0},
                   {"/pretrained_cfg/interpolation", "cubic", "filter"},
                   {"/pretrained_cfg/std", Json::array({0.5, 0, 0.5}), "image_std"},
                   {"/pretrained_cfg/input_size", Json::array({16, 16})},
                   {"/pretrained_cfg/input_size", Json::array({1, 16, 16})}},
                  load);
  expect_refusals(kPe + "spatial", "config.json", {{"/model_args/class_token", false, "global_pool"}}, load);
}

TEST(VitPe, WrongWeightsAreRefusedByName) {
  expect_weight_refusals(kPe + "core", "attn_pool.latent", "blocks.1.gamma_1",
                         [](const fs::path& path) { load_vit_pe(path); });
}

TEST(VitPe, WrongPixelsAreRefused) {
  const auto encoder = load_vit_pe(kPe + "core");
  for (const Tensor& pixels : {torch::zeros({3, 16, 16}), torch::zeros({1, 3, 16, 20}), torch::zeros({1, 1, 16, 16})}) {
    const std::string sentence = refusal<std::invalid_argument>([&] { encoder->encode(pixels); });
    EXPECT_NE(sentence.find("(N, 3, "), std::string::npos) << sentence;
  }
}

}  // namespace
