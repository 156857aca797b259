#include "trine/encoders/clip.h"

#include <cmath>
#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Checkpoint;
using trine::load_clip;

TEST(Clip, PicturesEqualTheReference) {
  for (const char* name : {"clip", "clip_gelu", "clip_vision", "clip_vision_pooled"}) {
    const Golden golden(name);
    const trine::AnyEncoder encoder = load_clip(golden.directory);
    ASSERT_TRUE(encoder.image) << name;
    expect_pictures(golden, *encoder.image);
  }
}

TEST(Clip, TextsEqualTheReference) {
  for (const char* name : {"clip", "clip_gelu", "clip_text"}) {
    const Golden golden(name);
    const trine::AnyEncoder encoder = load_clip(golden.directory);
    ASSERT_TRUE(encoder.text) << name;
    EXPECT_EQ(encoder.text->max_tokens(), 16);
    expect_texts(golden, *encoder.text);
  }
}

TEST(Clip, TokenIdsEqualTheReference) {
  for (const char* name : {"clip", "clip_gelu"}) {
    const Golden golden(name);
    const trine::ClipConfig config = trine::ClipConfig::load(golden.directory / "config.json");
    const Checkpoint checkpoint = Checkpoint::open(golden.directory);
    trine::ClipText network(config.text_config);
    trine::load_weights(*network, checkpoint, "text_model.");
    const torch::NoGradGuard no_grad;
    const Tensor projection = trine::load_tensor(checkpoint, "text_projection.weight");
    expect_features(torch::linear(network->forward(golden.tensor("ids")), projection), golden.tensor("text_features"),
                    name);
    EXPECT_NE(refusal<std::invalid_argument>([&] {
                network->forward(torch::zeros({1, 17}, torch::kInt64));
              }).find("17"),
              std::string::npos);
  }
}

TEST(Clip, ADirectorySaysWhichTowersItHas) {
  const trine::AnyEncoder both = trine::load_encoder(kVision / "clip");
  EXPECT_TRUE(both.image && both.text && !both.audio);
  EXPECT_EQ(both.image->dim(), 24);
  EXPECT_EQ(both.text->dim(), 24);
  ASSERT_TRUE(both.similarity.has_value());
  EXPECT_EQ(both.similarity->kind, trine::SimilarityKind::softmax);
  const Tensor scale = trine::load_tensor(Checkpoint::open(kVision / "clip"), "logit_scale");
  EXPECT_FLOAT_EQ(both.similarity->scale, std::exp(scale.item<float>()));
  EXPECT_EQ(both.similarity->bias, 0);
  const trine::AnyEncoder image = trine::load_encoder(kVision / "clip_vision");
  EXPECT_TRUE(image.image && !image.text && !image.similarity);
  EXPECT_EQ(image.image->dim(), 20);
  const trine::AnyEncoder text = trine::load_encoder(kVision / "clip_text");
  EXPECT_TRUE(text.text && !text.image);
  EXPECT_EQ(trine::load_encoder(kVision / "clip_vision_pooled").image->dim(), 32);
}

TEST(Clip, TheEndTokenIsTheHighestIdOrTheFirstOfItsKind) {
  const Golden golden("clip");
  const Directory right(golden.directory);
  right.change("config.json", [](Json& json) { json["text_config"]["eos_token_id"] = 27; });
  expect_texts(golden, *load_clip(right.path()).text);  // where it is both
  const Golden other("clip_gelu");
  const Directory legacy(other.directory);
  legacy.change("config.json", [](Json& json) { json["text_config_dict"]["eos_token_id"] = 2; });
  EXPECT_GT(relative_difference(load_clip(legacy.path()).text->encode(other.texts()), other.tensor("text_features")),
            0.1);
}

TEST(Clip, VectorsDoNotDependOnTheBatch) {
  const trine::AnyEncoder encoder = load_clip(kVision / "clip");
  expect_no_batch_effect(*encoder.image, {"photo", "tall", "exact", "small", "photo"});
  std::vector<std::string> texts;
  for (int i = 0; i < 70; ++i)
    texts.push_back(i % 3 == 0 ? "a red door" : std::string(static_cast<std::size_t>(i % 7), 'a'));
  const Tensor all = encoder.text->encode(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LT(largest_difference(encoder.text->encode({texts[i]})[0], all[static_cast<std::int64_t>(i)]), 1e-5);
  }
  EXPECT_EQ(encoder.text->encode({}).sizes(), (std::vector<std::int64_t>{0, 24}));
  EXPECT_FALSE(all.requires_grad());
}

TEST(Clip, AnEmbedderHasBothModalities) {
  const Golden golden("clip");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  EXPECT_EQ(model.dim(), 24);
  EXPECT_EQ(model.modalities(), (std::vector<trine::Modality>{trine::Modality::image, trine::Modality::text}));
  EXPECT_LT(largest_difference(model.embed_image(picture("photo")), trine::normalise(golden.tensor("features.photo"))),
            1e-5);
  EXPECT_LT(largest_difference(model.embed_texts(golden.texts(), {.long_input = trine::LongInput::truncate}),
                               trine::normalise(golden.tensor("text_features"))),
            1e-5);
  EXPECT_NEAR(model.embed({.image = picture("photo"), .text = "a red door"}).norm().item<float>(), 1, 1e-5);
}

TEST(Clip, ProbabilitiesEqualTheReference) {
  const Golden golden("clip");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  const Checkpoint checkpoint = Checkpoint::open(golden.directory);
  std::vector<trine::ImageInput> pictures;
  std::vector<Tensor> features;
  for (const char* name : {"photo", "tall", "small"}) {
    pictures.emplace_back(picture(name));
    features.push_back(golden.tensor(std::string("features.") + name));
  }
  const Tensor cosines =
      trine::normalise(torch::stack(features)).mm(trine::normalise(golden.tensor("text_features")).t());
  const Tensor logits = trine::load_tensor(checkpoint, "logit_scale").exp() * cosines;
  const Tensor found =
      model.probabilities(trine::Modality::image, model.embed_images(pictures),
                          model.embed_texts(golden.texts(), {.long_input = trine::LongInput::truncate}));
  EXPECT_LT(largest_difference(found, logits.softmax(1)), 1e-5);
  EXPECT_LT(
      largest_difference(model.similarity(3 * features[0], golden.tensor("text_features")), cosines.slice(0, 0, 1)),
      1e-5);
}

TEST(Clip, DescribesItself) {
  const trine::AnyEncoder encoder = load_clip(kVision / "clip");
  const std::string image = described(encoder.image->describe()), text = described(encoder.text->describe());
  for (const char* part : {"model_type: clip", "short side to 32 px", "bicubic", "quick_gelu",
                           "the class token, projected", "softmax of", "parameters: "}) {
    EXPECT_NE(image.find(part), std::string::npos) << part << " in " << image;
  }
  for (const char* part :
       {"model_type: clip", "max_tokens: 16", "quick_gelu", "the token of the highest id, projected"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  EXPECT_NE(described(load_clip(kVision / "clip_gelu").text->describe()).find("the first end token"),
            std::string::npos);
}

TEST(Clip, WrongConfigsAreRefusedByKey) {
  expect_refusals(kVision / "clip", "config.json",
                  {{"/model_type", "clipper"},
                   {"/model_type", nullptr},
                   {"/projection_dim", 0},
                   {"/projection_dim", 25, "visual_projection.weight"},
                   {"/vision_config", 3},
                   {"/vision_config/hidden_size", "32"},
                   {"/vision_config/hidden_size", 1 << 20},
                   {"/vision_config/hidden_size", 48, "class_embedding"},
                   {"/vision_config/num_hidden_layers", 1, "encoder.layers.1."},
                   {"/vision_config/num_hidden_layers", 3, "encoder.layers.2."},
                   {"/vision_config/num_attention_heads", 5},
                   {"/vision_config/hidden_act", "gelu_11"},
                   {"/vision_config/layer_norm_eps", 1},
                   {"/vision_config/image_size", 4},
                   {"/vision_config/image_size", 64, "image processor"},
                   {"/vision_config/image_size", Json::array({32, 40})},
                   {"/vision_config/patch_size", 33},
                   {"/vision_config/num_channels", 1},
                   {"/text_config/vocab_size", 3, "token_embedding"},
                   {"/text_config/vocab_size", 1 << 22},
                   {"/text_config/max_position_embeddings", 0},
                   {"/text_config/eos_token_id", 5},
                   {"/text_config/eos_token_id", Json::array({2})},
                   {"/text_config/intermediate_size", 70'000}},
                  [](const fs::path& path) { load_clip(path); });
  const Directory small(kVision / "clip");
  small.change("config.json", [](Json& json) { json["text_config"]["vocab_size"] = 20; });
  small.change_weights([](auto& tensors) {
    Tensor& table = tensors["text_model.embeddings.token_embedding.weight"];
    table = table.slice(0, 0, 20).contiguous();
  });
  const std::string ids = refusal<std::runtime_error>([&] { load_clip(small.path()); });
  EXPECT_NE(ids.find("28 ids, \"vocab_size\" is 20"), std::string::npos) << ids;
  const Directory vast(kVision / "clip");
  vast.change("config.json", [](Json& json) {
    json["text_config"]["hidden_size"] = json["text_config"]["intermediate_size"] = 16'384;
    json["text_config"]["num_hidden_layers"] = 256;
  });
  EXPECT_NE(refusal<std::runtime_error>([&] { load_clip(vast.path()); }).find("weights"), std::string::npos);
}

TEST(Clip, WrongWeightsAreRefusedByName) {
  const auto load = [](const fs::path& path) { load_clip(path); };
  expect_weight_refusals(kVision / "clip", "vision_model.encoder.layers.1.mlp.fc1.weight", "vision_model.proj", load);
  expect_weight_refusals(kVision / "clip", "text_model.embeddings.token_embedding.weight",
                         "text_model.encoder.layers.0.scale", load);
  expect_weight_refusals(kVision / "clip", "logit_scale", "text_model.extra", load);
}

TEST(Clip, WrongPixelsAreRefused) {
  const auto encoder = load_clip(kVision / "clip").image;
  for (const Tensor& pixels : {torch::zeros({3, 32, 32}), torch::zeros({1, 3, 32, 40}), torch::zeros({1, 1, 32, 32}),
                               torch::zeros({1, 3, 32, 32}, torch::kFloat64)}) {
    const std::string sentence = refusal<std::invalid_argument>([&] { encoder->encode(pixels); });
    EXPECT_NE(sentence.find("(N, 3, "), std::string::npos) << sentence;
  }
}

TEST(Clip, MissingFilesAreNamed) {
  for (const char* file : {"preprocessor_config.json", "tokenizer.json", "model.safetensors", "config.json"}) {
    const Directory directory(kVision / "clip");
    fs::remove(directory / file);
    const std::string sentence = refusal<std::exception>([&] { load_clip(directory.path()); });
    EXPECT_NE(sentence.find(file), std::string::npos) << sentence;
  }
}

}  // namespace
