#include "trine/encoders/ast.h"

#include "spectrogram_testing.h"
#include "trine/encoders/classifier.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::load_ast;

TEST(Ast, ClipsEqualTheReference) {
  for (const char* name : {"ast", "ast_classifier"}) {
    const Golden golden(spectrograms(name));
    const auto encoder = load_ast(golden.directory);
    EXPECT_EQ(encoder->dim(), 16);
    EXPECT_EQ(encoder->sample_rate(), 16'000);
    EXPECT_DOUBLE_EQ(encoder->max_seconds(), 0.425);
    expect_clips(golden, *encoder);
    EXPECT_TRUE(trine::load_encoder(golden.directory).audio);
  }
}

TEST(Ast, LogitsEqualTheReference) {
  const Golden golden(spectrograms("ast_classifier"));
  const trine::Classifier classifier = trine::Classifier::load(golden.directory);
  ASSERT_EQ(classifier.labels().size(), 3U);
  for (const std::string& name : golden.names("logits.")) {
    expect_features(classifier.audio_logits({clip_of(std::stoll(name), 16'000)})[0], golden.tensor("logits." + name),
                    name);
  }
  EXPECT_NE(described(classifier.describe()).find("layer norm, linear"), std::string::npos);
  const std::string none = refusal<std::runtime_error>([&] { trine::Classifier::load(kSpectrograms / "ast"); });
  EXPECT_NE(none.find("architectures"), std::string::npos) << none;
}

TEST(Ast, FeaturesStopAtTheLastFrame) {
  const trine::AstFeatureExtractor extractor = trine::AstFeatureExtractor::load(spectrograms("ast"));
  EXPECT_EQ(extractor.max_samples(), 6'800);
  EXPECT_EQ(largest_difference(extractor(clip_of(9'000, 16'000).samples), extractor(clip_of(6'800, 16'000).samples)),
            0);
}

TEST(Ast, VectorsDoNotDependOnThreadsOrTheBatch) {
  expect_steady(*load_ast(kSpectrograms / "ast"));
  trine::Ast network(trine::AstConfig::load(kSpectrograms / "ast/config.json"));
  trine::load_weights(*network, trine::Checkpoint::open(kSpectrograms / "ast"));
  const torch::NoGradGuard no_grad;
  const Tensor features = noise("features", {5, 41, 24});
  const Tensor all = network->forward(features);
  for (std::int64_t i = 0; i < 5; ++i) {
    EXPECT_LT(largest_difference(network->forward(features.slice(0, i, i + 1))[0], all[i]), 1e-5);
  }
  const std::string sentence = refusal<std::invalid_argument>([&] { network->forward(features.transpose(1, 2)); });
  EXPECT_NE(sentence.find("(N, 41, 24), got [5, 24, 41]"), std::string::npos) << sentence;
}

TEST(Ast, ClipsThatDoNotFitAreRefused) {
  const auto encoder = load_ast(kSpectrograms / "ast");
  EXPECT_NE(clip_refusal(*encoder, 0, 16'000).find("0 samples"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 399, 16'000).find("at least 400"), std::string::npos);
  EXPECT_EQ(clip_refusal(*encoder, 400, 16'000), "accepted");
  EXPECT_EQ(clip_refusal(*encoder, 6'800, 16'000), "accepted");
  EXPECT_NE(clip_refusal(*encoder, 6'801, 16'000).find("at most 0.425 s"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 1'000, 0).find("rate"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 1'000, 16'000, NAN).find("finite"), std::string::npos);
}

TEST(Ast, AnEmbedderHears) {
  const Golden golden(spectrograms("ast"));
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  EXPECT_EQ(model.modalities(), std::vector<trine::Modality>{trine::Modality::audio});
  EXPECT_LT(
      largest_difference(model.embed_audio(clip_of(3'217, 16'000)), trine::normalise(golden.tensor("vector.3217"))),
      1e-5);
}

TEST(Ast, DescribesItself) {
  const std::string all = described(load_ast(kSpectrograms / "ast_classifier")->describe());
  for (const char* part :
       {"model_type: audio-spectrogram-transformer", "16000 Hz", "at most 0.425 s", "24 Kaldi bands", "to 41 frames",
        "mean -3.1, std 2.7", "gelu (tanh", "the class and the distillation token", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " in " << all;
  }
}

TEST(Ast, WrongDirectoriesAreRefused) {
  const auto load = [](const fs::path& path) { load_ast(path); };
  expect_refusals(spectrograms("ast"), "config.json",
                  {{"/hidden_size", 0},
                   {"/hidden_size", 1 << 20},
                   {"/num_attention_heads", 3},
                   {"/hidden_act", "gelu_11"},
                   {"/layer_norm_eps", 0},
                   {"/num_hidden_layers", 1, "encoder.layer.1."},
                   {"/num_hidden_layers", 3, "encoder.layer.2."},
                   {"/qkv_bias", false, "attention.key.bias"},
                   {"/patch_size", Json::array({6, 6})},
                   {"/patch_size", 25},
                   {"/patch_size", 5, "projection.weight"},
                   {"/frequency_stride", 0},
                   {"/frequency_stride", 4, "position_embeddings"},
                   {"/time_stride", -7},
                   {"/max_length", 1 << 20},
                   {"/max_length", 48, "max_length"},
                   {"/num_mel_bins", 2'000},
                   {"/num_mel_bins", 29, "num_mel_bins"}},
                  load);
  expect_refusals(spectrograms("ast"), "preprocessor_config.json",
                  {{"/feature_extractor_type", "WhisperFeatureExtractor"},
                   {"/sampling_rate", 8'000},
                   {"/sampling_rate", "16000"},
                   {"/num_mel_bins", 0},
                   {"/num_mel_bins", 25},
                   {"/max_length", 1 << 20},
                   {"/max_length", 40},
                   {"/do_normalize", 1},
                   {"/mean", "0"},
                   {"/std", 0}},
                  load);
  expect_refusals(spectrograms("ast_classifier"), "processor_config.json",
                  {{"/feature_extractor", nullptr, "preprocessor_config.json"},
                   {"/feature_extractor", Json::array({1}), "not a JSON object"}},
                  load);
  expect_weight_refusals(spectrograms("ast"), "embeddings.distillation_token", "encoder.layer.0.scale", load);
  const Directory vast(spectrograms("ast"));
  vast.change("config.json", [](Json& json) {
    json["max_length"] = 65'536;
    json["frequency_stride"] = json["time_stride"] = 1;
  });
  const std::string sentence = refusal<std::runtime_error>([&] { load_ast(vast.path()); });
  EXPECT_NE(sentence.find("patches, at most 16384"), std::string::npos) << sentence;
}

TEST(Ast, MissingFilesAreNamed) {
  for (const char* file : {"preprocessor_config.json", "model.safetensors", "config.json"}) {
    const Directory directory(spectrograms("ast"));
    fs::remove(directory / file);
    const std::string sentence = refusal<std::exception>([&] { load_ast(directory.path()); });
    EXPECT_NE(sentence.find(file), std::string::npos) << sentence;
  }
}

}  // namespace
