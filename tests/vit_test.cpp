#include "trine/encoders/vit.h"

#include "vision_testing.h"

namespace {

using namespace trine::testing;
using trine::load_vit;

TEST(Vit, PicturesEqualTheReference) {
  for (const char* name : {"vit", "vit_classifier"}) {
    const Golden golden(name);
    const auto encoder = load_vit(golden.directory);
    EXPECT_EQ(encoder->dim(), golden.tensor("features.photo").size(0));
    expect_pictures(golden, *encoder);
    EXPECT_TRUE(trine::load_encoder(golden.directory).image);
  }
}

TEST(Vit, WithoutThePoolerTheClassTokenIsGiven) {
  const Directory directory(kVision / "vit");
  directory.change_weights([](auto& tensors) {
    tensors.erase("pooler.dense.weight");
    tensors.erase("pooler.dense.bias");
  });
  EXPECT_EQ(load_vit(directory.path())->dim(), 32);
}

TEST(Vit, VectorsDoNotDependOnTheBatch) {
  expect_no_batch_effect(*load_vit(kVision / "vit"), {"photo", "tall", "exact", "small"});
}

TEST(Vit, DescribesItself) {
  const std::string pooled = described(load_vit(kVision / "vit")->describe());
  for (const char* part : {"model_type: vit", "to 32 x 32", "bilinear", "gelu (exact)", "through the pooler, tanh",
                           "mean (0.5, 0.5, 0.5)", "parameters: "}) {
    EXPECT_NE(pooled.find(part), std::string::npos) << part << " in " << pooled;
  }
  const std::string classifier = described(load_vit(kVision / "vit_classifier")->describe());
  EXPECT_NE(classifier.find("pooling: the class token\n"), std::string::npos) << classifier;
}

TEST(Vit, WrongDirectoriesAreRefused) {
  const auto load = [](const fs::path& path) { load_vit(path); };
  expect_refusals(kVision / "vit", "config.json",
                  {{"/hidden_size", 0},
                   {"/num_attention_heads", 5},
                   {"/hidden_act", "gelu_11"},
                   {"/pooler_act", "x"},
                   {"/pooler_output_size", 21, "pooler.dense"},
                   {"/qkv_bias", false, "attention.key.bias"},
                   {"/image_size", 48, "image processor"},
                   {"/patch_size", Json::array({8, 4})},
                   {"/num_hidden_layers", 1, "encoder.layer.1."},
                   {"/layer_norm_eps", 0}},
                  load);
  expect_weight_refusals(kVision / "vit", "embeddings.patch_embeddings.projection.weight", "encoder.layer.0.scale",
                         load);
}

}  // namespace
