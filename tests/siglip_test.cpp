#include "trine/encoders/siglip.h"

#include <cmath>
#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Checkpoint;
using trine::load_siglip;

TEST(Siglip, PicturesEqualTheReference) {
  for (const char* name : {"siglip", "siglip_vision", "siglip2"}) {
    const Golden golden(name);
    const trine::AnyEncoder encoder = load_siglip(golden.directory);
    ASSERT_TRUE(encoder.image) << name;
    expect_pictures(golden, *encoder.image);
  }
}

TEST(Siglip, TextsEqualTheReference) {
  for (const char* name : {"siglip", "siglip_text", "siglip2"}) {
    const Golden golden(name);
    const trine::AnyEncoder encoder = load_siglip(golden.directory);
    ASSERT_TRUE(encoder.text) << name;
    EXPECT_EQ(encoder.text->max_tokens(), 12);
    expect_texts(golden, *encoder.text);
  }
}

TEST(Siglip, TokenIdsEqualTheReference) {
  const Golden golden("siglip");
  trine::SiglipText network(trine::SiglipConfig::load(golden.directory / "config.json").text_config);
  trine::load_weights(*network, Checkpoint::open(golden.directory), "text_model.");
  const torch::NoGradGuard no_grad;
  const Tensor ids = golden.tensor("ids");
  EXPECT_EQ(ids.size(1), 12);
  expect_features(network->forward(ids), golden.tensor("text_features"), "siglip");
}

TEST(Siglip, ADirectorySaysWhichTowersItHas) {
  for (const char* name : {"siglip", "siglip2"}) {
    const trine::AnyEncoder both = trine::load_encoder(kVision / name);
    EXPECT_TRUE(both.image && both.text && !both.audio);
    EXPECT_EQ(both.image->dim(), 32);
    EXPECT_EQ(both.text->dim(), 32);
    ASSERT_TRUE(both.similarity.has_value());
    EXPECT_EQ(both.similarity->kind, trine::SimilarityKind::sigmoid);
    const Checkpoint checkpoint = Checkpoint::open(kVision / name);
    EXPECT_FLOAT_EQ(both.similarity->scale, std::exp(trine::load_tensor(checkpoint, "logit_scale").item<float>()));
    EXPECT_FLOAT_EQ(both.similarity->bias, trine::load_tensor(checkpoint, "logit_bias").item<float>());
  }
  EXPECT_FALSE(trine::load_encoder(kVision / "siglip_vision").text);
  EXPECT_EQ(trine::load_encoder(kVision / "siglip_text").text->dim(), 20);
}

TEST(Siglip, VectorsDoNotDependOnTheBatch) {
  const trine::AnyEncoder encoder = load_siglip(kVision / "siglip");
  expect_no_batch_effect(*encoder.image, {"photo", "tall", "exact", "small", "photo"});
  const std::vector<std::string> texts = Golden("siglip").texts();
  const Tensor all = encoder.text->encode(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LT(largest_difference(encoder.text->encode({texts[i]})[0], all[static_cast<std::int64_t>(i)]), 1e-5);
  }
}

TEST(Siglip, AnEmbedderTakesPicturesOfAnyShape) {
  const Golden golden("siglip2");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  const std::vector<std::string> names{"photo", "strip", "tall", "photo", "dot", "exact"};
  std::vector<trine::ImageInput> pictures;
  std::vector<Tensor> wanted;
  for (const std::string& name : names) {
    pictures.push_back(picture(name));
    wanted.push_back(trine::normalise(golden.tensor("features." + name)));
  }
  EXPECT_LT(largest_difference(model.embed_images(pictures), torch::stack(wanted)), 1e-5);
  EXPECT_LT(largest_difference(model.embed_texts(golden.texts(), {.long_input = trine::LongInput::truncate}),
                               trine::normalise(golden.tensor("text_features"))),
            1e-5);
}

TEST(Siglip, ProbabilitiesEqualTheReference) {
  const Golden golden("siglip");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  const Checkpoint checkpoint = Checkpoint::open(golden.directory);
  std::vector<trine::ImageInput> pictures;
  std::vector<Tensor> features;
  for (const char* name : {"photo", "tall", "strip"}) {
    pictures.emplace_back(picture(name));
    features.push_back(golden.tensor(std::string("features.") + name));
  }
  const Tensor cosines =
      trine::normalise(torch::stack(features)).mm(trine::normalise(golden.tensor("text_features")).t());
  const Tensor logits =
      trine::load_tensor(checkpoint, "logit_scale").exp() * cosines + trine::load_tensor(checkpoint, "logit_bias");
  const Tensor found =
      model.probabilities(trine::Modality::image, model.embed_images(pictures),
                          model.embed_texts(golden.texts(), {.long_input = trine::LongInput::truncate}));
  EXPECT_LT(largest_difference(found, logits.sigmoid()), 1e-5);
  EXPECT_LT(
      largest_difference(model.similarity(3 * features[0], golden.tensor("text_features")), cosines.slice(0, 0, 1)),
      1e-5);
}

TEST(Siglip, DescribesItself) {
  const trine::AnyEncoder encoder = load_siglip(kVision / "siglip");
  const std::string image = described(encoder.image->describe()), text = described(encoder.text->describe());
  for (const char* part : {"model_type: siglip", "to 32 x 32 whatever the shape", "tanh approximation",
                           "a learned query", "sigmoid of", "parameters: "}) {
    EXPECT_NE(image.find(part), std::string::npos) << part << " in " << image;
  }
  for (const char* part : {"padding: always to max_tokens", "the last position", "sigmoid of"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
}

TEST(Siglip, WrongDirectoriesAreRefused) {
  const auto load = [](const fs::path& path) { load_siglip(path); };
  expect_refusals(kVision / "siglip", "config.json",
                  {{"/model_type", "siglip3"},
                   {"/vision_config/hidden_act", "x"},
                   {"/vision_config/vision_use_head", false},
                   {"/vision_config/image_size", 40, "image processor"},
                   {"/vision_config/num_hidden_layers", 1, "encoder.layers.1."},
                   {"/vision_config/patch_size", 0},
                   {"/text_config/projection_size", 16},
                   {"/text_config/num_attention_heads", 3},
                   {"/text_config/vocab_size", 5, "token_embedding"},
                   {"/text_config/max_position_embeddings", 13, "position_embedding"}},
                  load);
  expect_refusals(kVision / "siglip2", "config.json",
                  {{"/vision_config/num_patches", 15}, {"/vision_config/patch_size", 16}}, load);
  expect_refusals(kVision / "siglip2", "preprocessor_config.json", {{"/image_processor_type", "SiglipImageProcessor"}},
                  load);
  expect_refusals(kVision / "siglip", "preprocessor_config.json", {{"/image_processor_type", "Siglip2ImageProcessor"}},
                  load);
  expect_weight_refusals(kVision / "siglip", "vision_model.head.probe", "vision_model.head.gate", load);
  expect_weight_refusals(kVision / "siglip2", "vision_model.embeddings.patch_embedding.weight", "text_model.head.scale",
                         load);
  expect_weight_refusals(kVision / "siglip", "logit_bias", "text_model.extra", load);
}

TEST(Siglip, WrongPixelsAreRefused) {
  const auto naflex = load_siglip(kVision / "siglip2").image;
  const std::string sentence = refusal<std::invalid_argument>([&] { naflex->encode(torch::zeros({1, 3, 12, 16})); });
  EXPECT_NE(sentence.find("whole patches of 8"), std::string::npos) << sentence;
  const auto fixed = load_siglip(kVision / "siglip").image;
  EXPECT_NE(refusal<std::invalid_argument>([&] { fixed->encode(torch::zeros({1, 3, 40, 40})); }), "accepted");
}

}  // namespace
