#include "trine/encoders/wav2vec2.h"

#include <cmath>

#include "waves_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::load_wav2vec2;

const std::string kParametrized = "encoder.pos_conv_embed.conv.parametrizations.weight.original";

TEST(Wav2Vec2, ClipsEqualTheReference) {
  for (const char* name : {"wav2vec2", "wav2vec2_stable", "hubert", "hubert_batch_norm", "wavlm", "wavlm_stable",
                           "wav2vec2_classifier", "hubert_classifier", "wavlm_classifier"}) {
    const Golden golden = waves(name);
    const auto encoder = load_wav2vec2(golden.directory);
    EXPECT_EQ(encoder->dim(), 16);
    EXPECT_EQ(encoder->sample_rate(), 16'000);
    EXPECT_DOUBLE_EQ(encoder->max_seconds(), 60);
    ASSERT_EQ(golden.names("hidden.").size(), 4U);
    for (const std::string& length : golden.names("hidden.")) {
      const trine::Audio clip = clip_of(std::stoll(length), 16'000);
      expect_features(encoder->encode(clip), golden.tensor("hidden." + length), name + (" " + length));
      if (!golden.expected.contains("input." + length)) continue;
      EXPECT_LT(relative_difference(encoder->preprocess(clip), golden.tensor("input." + length)), 1e-5) << name;
    }
    EXPECT_TRUE(trine::load_encoder(golden.directory).audio) << name;
  }
}

TEST(Wav2Vec2, EveryLayoutOfThePositionsIsRead) {
  for (const char* name : {"wav2vec2", "wavlm_classifier"}) {
    const Golden golden = waves(name);
    const auto wanted = golden.tensor("hidden.3217");
    const std::string inside = std::string(name) == "wavlm_classifier" ? "wavlm." : "";
    const std::string scale = inside + kParametrized + "0", direction = inside + kParametrized + "1";
    const std::string conv = inside + "encoder.pos_conv_embed.conv.";
    const Directory older(golden.directory);
    older.change_weights([&](auto& tensors) {
      ASSERT_TRUE(tensors.contains(scale));
      tensors[conv + "weight_g"] = tensors[scale];
      tensors[conv + "weight_v"] = tensors[direction];
      tensors.erase(scale);
      tensors.erase(direction);
    });
    expect_features(load_wav2vec2(older.path())->encode(clip_of(3'217, 16'000)), wanted, name);
    const Directory plain(golden.directory);
    plain.change_weights([&](auto& tensors) {
      const Tensor& v = tensors[direction];
      tensors[conv + "weight"] = v * (tensors[scale] / v.square().sum({0, 1}, true).sqrt());
      tensors.erase(scale);
      tensors.erase(direction);
    });
    expect_features(load_wav2vec2(plain.path())->encode(clip_of(3'217, 16'000)), wanted, name);
  }
}

TEST(Wav2Vec2, VectorsDoNotDependOnThreadsOrTheBatch) {
  for (const char* name : {"wav2vec2", "wavlm_stable"}) {
    const auto encoder = load_wav2vec2(kWaves / name);
    const trine::Audio clip = clip_of(8'000, 16'000);
    const auto [one, two] = with_one_and_two_threads([&] { return encoder->encode(clip); });
    EXPECT_LT(largest_difference(one, two), 1e-5) << name;
    EXPECT_FALSE(one.requires_grad());
    const trine::Audio other = clip_of(4'000, 44'100);
    EXPECT_EQ(largest_difference(encoder->encode(other),
                                 encoder->encode({16'000, trine::resample(other.samples, 44'100, 16'000)})),
              0);
    trine::Wav2Vec2 network(trine::Wav2Vec2Config::load(kWaves / name / "config.json"));
    trine::load_weights(*network, trine::Checkpoint::open(kWaves / name));
    const torch::NoGradGuard no_grad;
    const Tensor samples = noise("samples", {3, 1'000});
    const Tensor all = network->forward(samples);
    EXPECT_EQ(all.sizes(), (std::vector<std::int64_t>{3, (1'000 - 105) / 80 + 1, 16}));
    for (std::int64_t i = 0; i < 3; ++i) {
      EXPECT_LT(largest_difference(network->forward(samples.slice(0, i, i + 1))[0], all[i]), 1e-5) << name;
    }
    EXPECT_EQ(network->states(samples).size(), 3U);
    EXPECT_TRUE(torch::equal(network->states(samples).back(), all));
    const std::string sentence = refusal<std::invalid_argument>([&] { network->forward(samples[0]); });
    EXPECT_NE(sentence.find("(N, 105 or more), got [1000]"), std::string::npos) << sentence;
  }
}

TEST(Wav2Vec2, ClipsThatDoNotFitAreRefused) {
  const auto encoder = load_wav2vec2(kWaves / "wav2vec2");
  EXPECT_NE(clip_refusal(*encoder, 0, 16'000).find("0 samples"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 104, 16'000).find("at least 105"), std::string::npos);
  EXPECT_EQ(clip_refusal(*encoder, 105, 16'000), "accepted");
  EXPECT_NE(clip_refusal(*encoder, 960'001, 16'000).find("at most 60 s"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 1'000, 0).find("rate"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 1'000, 16'000, NAN).find("finite"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder, 1'000, 16'000, INFINITY).find("finite"), std::string::npos);
}

TEST(Wav2Vec2, ASilentClipHasFiniteVectors) {
  for (const char* name : {"wav2vec2", "hubert_batch_norm", "wavlm_stable"}) {
    for (const float level : {0.0F, 0.3F}) {
      const Tensor found = load_wav2vec2(kWaves / name)->encode({16'000, std::vector<float>(2'000, level)});
      EXPECT_TRUE(found.isfinite().all().item<bool>()) << name << level;
    }
  }
}

TEST(Wav2Vec2, AnEmbedderHearsTheMean) {
  const Golden golden = waves("hubert");
  const trine::Embedder model = trine::Embedder::load(golden.directory);
  EXPECT_EQ(model.modalities(), std::vector<trine::Modality>{trine::Modality::audio});
  EXPECT_LT(largest_difference(model.embed_audio(clip_of(8'000, 16'000)),
                               trine::normalise(golden.tensor("hidden.8000").mean(0))),
            1e-5);
}

TEST(Wav2Vec2, DescribesItself) {
  const auto describe = [](const char* name) { return described(load_wav2vec2(kWaves / name)->describe()); };
  const std::string all = describe("wav2vec2");
  for (const char* part : {"model_type: wav2vec2", "16000 Hz", "at most 60 s", "mean 0 and variance 1", "padding: none",
                           "gelu (exact)", "a vector a step", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " in " << all;
  }
  EXPECT_NE(describe("wavlm").find("scaling: none"), std::string::npos);
  EXPECT_NE(describe("hubert").find("model_type: hubert"), std::string::npos);
}

TEST(Wav2Vec2, WrongDirectoriesAreRefused) {
  const auto load = [](const fs::path& path) { load_wav2vec2(path); };
  expect_refusals(kWaves / "wav2vec2", "config.json",
                  {{"/model_type", "data2vec-audio"},
                   {"/hidden_size", 0},
                   {"/hidden_size", 1 << 20},
                   {"/hidden_size", 8, "projection.weight"},
                   {"/num_attention_heads", 3},
                   {"/hidden_act", "gelu_11"},
                   {"/layer_norm_eps", 0},
                   {"/num_hidden_layers", 1, "encoder.layers.1."},
                   {"/num_hidden_layers", 3, "encoder.layers.2."},
                   {"/intermediate_size", 25, "intermediate_dense"},
                   {"/feat_extract_norm", "batch"},
                   {"/feat_extract_norm", "layer", "conv_layers.1.layer_norm"},
                   {"/feat_extract_activation", 3},
                   {"/feat_extract_activation", "snake"},
                   {"/conv_bias", true, "conv_layers.0.conv.bias"},
                   {"/conv_bias", 1},
                   {"/conv_dim", Json::array()},
                   {"/conv_dim", Json::array({6, 8})},
                   {"/conv_dim", Json::array({6, 8, 0})},
                   {"/conv_dim", Json::array({6, 8, 1 << 20})},
                   {"/conv_dim", Json::array({6, 8, 13}), "conv_layers.2"},
                   {"/conv_dim", 6},
                   {"/conv_kernel", Json::array({10, 4})},
                   {"/conv_kernel", Json::array({10, 4, -5})},
                   {"/conv_kernel", Json::array({10, 4, 2'000})},
                   {"/conv_kernel", Json::array({10, 4, 6}), "conv_layers.2"},
                   {"/conv_stride", Json::array({5, 4, 4, 4})},
                   {"/conv_stride", Json::array({5, 4, 0})},
                   {"/conv_stride", Json::array({5, 4, 1.5})},
                   {"/conv_stride", Json::array({1, 1, 1}), "steps of 60 s"},
                   {"/conv_stride", Json::array({1'024, 1'024, 1})},
                   {"/num_conv_pos_embeddings", 0},
                   {"/num_conv_pos_embeddings", 1 << 20},
                   {"/num_conv_pos_embeddings", 13, "pos_conv_embed"},
                   {"/num_conv_pos_embedding_groups", 3},
                   {"/num_conv_pos_embedding_groups", 2, "pos_conv_embed"},
                   {"/do_stable_layer_norm", "yes"},
                   {"/add_adapter", true},
                   {"/adapter_attn_dim", 16}},
                  load);
  expect_refusals(kWaves / "hubert", "config.json",
                  {{"/feat_proj_layer_norm", true, "feature_projection.layer_norm"},
                   {"/conv_pos_batch_norm", true, "pos_conv_embed"}},
                  load);
  expect_refusals(kWaves / "wavlm", "config.json",
                  {{"/num_buckets", 3},
                   {"/num_buckets", 12, "rel_attn_embed"},
                   {"/max_bucket_distance", 2},
                   {"/max_bucket_distance", 1 << 30},
                   {"/add_adapter", true}},
                  load);
  expect_refusals(kWaves / "wavlm", "preprocessor_config.json",
                  {{"/feature_extractor_type", "WhisperFeatureExtractor"},
                   {"/sampling_rate", 8'000},
                   {"/sampling_rate", "16000"},
                   {"/do_normalize", 1}},
                  load);
  expect_refusals(kWaves / "hubert", "processor_config.json", {{"/feature_extractor", Json::array({1}), "JSON object"}},
                  load);
  expect_weight_refusals(kWaves / "wav2vec2", kParametrized + "0", "encoder.layers.0.scale", load);
  expect_weight_refusals(kWaves / "wavlm", "encoder.layers.0.attention.rel_attn_embed.weight",
                         "encoder.layers.1.attention.rel_attn_embed.weight", load);
  expect_weight_refusals(kWaves / "hubert_batch_norm", "encoder.pos_conv_embed.batch_norm.running_var",
                         "encoder.pos_conv_embed.conv.weight_g", load);
  expect_weight_refusals(kWaves / "hubert_classifier", "hubert.encoder.layers.1.feed_forward.output_dense.weight",
                         "hubert.extra", load);
}

TEST(Wav2Vec2, VastConfigsAreRefused) {
  const auto sentence = [](const std::function<void(Json&)>& how) {
    const Directory vast(kWaves / "wavlm");
    vast.change("config.json", how);
    return refusal<std::runtime_error>([&] { load_wav2vec2(vast.path()); });
  };
  const std::string weights = sentence([](Json& json) {
    json["hidden_size"] = json["intermediate_size"] = 16'384;
    json["num_hidden_layers"] = 256;
  });
  EXPECT_NE(weights.find("at most 2e+09"), std::string::npos) << weights;
  const std::string values = sentence([](Json& json) { json["conv_dim"] = Json::array({16'384, 8, 12}); });
  EXPECT_NE(values.find("\"conv_dim\""), std::string::npos) << values;
  const std::string distances = sentence([](Json& json) { json["num_attention_heads"] = 16; });
  EXPECT_NE(distances.find("distances of 60 s"), std::string::npos) << distances;
}

TEST(Wav2Vec2, MissingFilesAreNamed) {
  for (const char* file : {"preprocessor_config.json", "model.safetensors", "config.json"}) {
    const Directory directory(kWaves / "wav2vec2");
    fs::remove(directory / file);
    const std::string sentence = refusal<std::exception>([&] { load_wav2vec2(directory.path()); });
    EXPECT_NE(sentence.find(file), std::string::npos) << sentence;
  }
}

}  // namespace
