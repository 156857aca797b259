#include "trine/encoders/dinov2.h"

#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::load_dinov2;

TEST(Dinov2, PicturesEqualTheReference) {
  for (const char* name : {"dinov2", "dinov2_swiglu", "dinov2_registers", "dinov2_classifier"}) {
    const Golden golden(name);
    expect_pictures(golden, *load_dinov2(golden.directory));
    EXPECT_TRUE(trine::load_encoder(golden.directory).image);
  }
}

TEST(Dinov2, VectorsDoNotDependOnTheBatch) {
  expect_no_batch_effect(*load_dinov2(kVision / "dinov2"), {"photo", "tall", "exact", "small"});
}

TEST(Dinov2, AnEmbedderTakesPicturesOfAnyShape) {
  const Golden golden("dinov2_swiglu");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  const Tensor found = model.embed_images({picture("photo"), picture("tall"), picture("exact"), picture("tall")});
  for (const auto& [row, name] : std::map<int, std::string>{{0, "photo"}, {1, "tall"}, {2, "exact"}, {3, "tall"}}) {
    EXPECT_LT(largest_difference(found[row], trine::normalise(golden.tensor("features." + name))), 1e-5) << name;
  }
}

TEST(Dinov2, DescribesItself) {
  const std::string text = described(load_dinov2(kVision / "dinov2")->describe());
  for (const char* part : {"model_type: dinov2\n", "short side to 60 px, bicubic", "centre crop 56 x 56",
                           "gelu (exact)", "the class token", "parameters: "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  EXPECT_NE(described(load_dinov2(kVision / "dinov2_swiglu")->describe()).find("silu, gated"), std::string::npos);
}

TEST(Dinov2, WrongDirectoriesAreRefused) {
  const auto load = [](const fs::path& path) { load_dinov2(path); };
  expect_refusals(kVision / "dinov2", "config.json",
                  {{"/model_type", "dinov3"},
                   {"/mlp_ratio", 0},
                   {"/mlp_ratio", 2.5},
                   {"/mlp_ratio", 3, "mlp.fc1.weight"},
                   {"/use_swiglu_ffn", true, "mlp.weights_in.weight"},
                   {"/image_size", 48, "position_embeddings"},
                   {"/hidden_size", 33},
                   {"/num_hidden_layers", 1, "encoder.layer.1."}},
                  load);
  expect_refusals(kVision / "dinov2_registers", "config.json",
                  {{"/num_register_tokens", 0}, {"/num_register_tokens", 4, "register_tokens"}}, load);
  expect_weight_refusals(kVision / "dinov2", "encoder.layer.1.layer_scale1.lambda1", "encoder.layer.1.gate", load);
}

TEST(Dinov2, WrongPixelsAreRefused) {
  const auto encoder = load_dinov2(kVision / "dinov2");
  const std::string sentence = refusal<std::invalid_argument>([&] { encoder->encode(torch::zeros({1, 3, 7, 20})); });
  EXPECT_NE(sentence.find("a patch of 8"), std::string::npos) << sentence;
}

}  // namespace
