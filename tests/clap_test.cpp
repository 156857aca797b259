#include "trine/encoders/clap.h"

#include <cmath>

#include "spectrogram_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Checkpoint;
using trine::load_clap;

constexpr int kRate = 8'000;  // Hz, of all cases

TEST(Clap, ClipsEqualTheReference) {
  for (const char* name : {"clap_unfused", "clap_fused", "clap_audio"}) {
    const Golden golden(spectrograms(name));
    const trine::AnyEncoder encoder = load_clap(golden.directory);
    ASSERT_TRUE(encoder.audio) << name;
    EXPECT_EQ(encoder.audio->sample_rate(), kRate);
    EXPECT_EQ(encoder.audio->max_seconds(), 1);
    expect_clips(golden, *encoder.audio);
  }
}

TEST(Clap, TextsEqualTheReference) {
  for (const char* name : {"clap_unfused", "clap_fused", "clap_text"}) {
    const Golden golden(spectrograms(name));
    const trine::AnyEncoder encoder = load_clap(golden.directory);
    ASSERT_TRUE(encoder.text) << name;
    EXPECT_EQ(encoder.text->max_tokens(), 38);
    expect_texts(golden, *encoder.text);
  }
}

TEST(Clap, ADirectorySaysWhichTowersItHas) {
  const trine::AnyEncoder both = trine::load_encoder(kSpectrograms / "clap_fused");
  EXPECT_TRUE(both.audio && both.text && !both.image);
  EXPECT_EQ(both.audio->dim(), 12);
  EXPECT_EQ(both.text->dim(), 12);
  ASSERT_TRUE(both.similarity.has_value());
  EXPECT_EQ(both.similarity->kind, trine::SimilarityKind::softmax);
  const Tensor scale = trine::load_tensor(Checkpoint::open(kSpectrograms / "clap_fused"), "logit_scale_a");
  EXPECT_FLOAT_EQ(both.similarity->scale, std::exp(scale.item<float>()));
  const trine::AnyEncoder audio = trine::load_encoder(kSpectrograms / "clap_audio");
  EXPECT_TRUE(audio.audio && !audio.text && !audio.similarity);
  EXPECT_EQ(audio.audio->dim(), 10);
  const trine::AnyEncoder text = trine::load_encoder(kSpectrograms / "clap_text");
  EXPECT_TRUE(text.text && !text.audio);
  EXPECT_EQ(text.text->dim(), 16);
}

TEST(Clap, WithoutItsProjectionAnAudioTowerGivesItsPooledState) {
  const Directory directory(spectrograms("clap_audio"));
  directory.change_weights([](auto& tensors) {
    std::map<std::string, Tensor> bare;
    for (const auto& [name, tensor] : tensors) {
      if (name.starts_with("audio_model.")) bare[name.substr(12)] = tensor;
    }
    tensors = bare;
  });
  const trine::AnyEncoder bare = load_clap(directory.path()), whole = load_clap(kSpectrograms / "clap_audio");
  const Tensor pooled = bare.audio->encode(clip_of(4'400, kRate));
  EXPECT_EQ(pooled.sizes(), (std::vector<std::int64_t>{1, 16}));
  const Checkpoint checkpoint = Checkpoint::open(kSpectrograms / "clap_audio");
  const auto weight = [&](const std::string& name) {
    return trine::load_tensor(checkpoint, "audio_projection." + name);
  };
  const Tensor hidden = torch::relu(torch::linear(pooled, weight("linear1.weight"), weight("linear1.bias")));
  expect_features(torch::linear(hidden, weight("linear2.weight"), weight("linear2.bias")),
                  whole.audio->encode(clip_of(4'400, kRate)), "projection");
}

TEST(Clap, LongClipsAreFusedFromThePiecesThatTheReferenceDraws) {
  const Golden golden(spectrograms("clap_fused"));
  for (const std::uint32_t seed : {3u, 8u}) {
    const trine::AnyEncoder encoder = load_clap(golden.directory, {.whole_clips = true, .seed = seed});
    EXPECT_EQ(encoder.audio->max_seconds(), 3'600);
    for (const std::int64_t samples : {8'040, 18'400}) {  // 8040 have as many frames as the window
      const std::string name = std::to_string(samples) + ".seed" + std::to_string(seed);
      const Tensor wanted = golden.tensor("features." + name);
      EXPECT_LT(largest_difference(thinned(encoder.audio->preprocess(clip_of(samples, kRate)), wanted), wanted), 1e-4)
          << name;
      expect_features(encoder.audio->encode(clip_of(samples, kRate))[0], golden.tensor("vector." + name), name);
    }
  }
}

TEST(Clap, WithoutASeedThePiecesAreTheFirstTheMiddleAndTheLast) {
  const trine::AnyEncoder encoder = load_clap(kSpectrograms / "clap_fused", {.whole_clips = true});
  const trine::ClapFeatureExtractor extractor = trine::ClapFeatureExtractor::load(kSpectrograms / "clap_fused");
  const trine::Audio clip = clip_of(18'400, kRate);
  const Tensor mels = encoder.audio->preprocess(clip);
  ASSERT_EQ(mels.sizes(), (std::vector<std::int64_t>{4, 63, 64}));
  // a piece of the clip has the frames of a piece of the spectrogram, but for those at its ends
  const auto piece = [&](std::int64_t first) {
    const auto begin = clip.samples.begin() + first * 128;
    return extractor(std::vector<float>(begin, begin + 8'000)).mels[0].slice(0, 2, 61);
  };
  EXPECT_LT(largest_difference(mels[1].slice(0, 2, 61), piece(0)), 1e-4);
  EXPECT_LT(largest_difference(mels[2].slice(0, 2, 61), piece(40)), 1e-4);  // of 81 starts
  EXPECT_LT(largest_difference(mels[3].slice(0, 2, 61), piece(81)), 1e-4);
  EXPECT_EQ(largest_difference(encoder.audio->encode(clip), encoder.audio->encode(clip)), 0);
}

TEST(Clap, LongClipsOfTheUnfusedWantASeed) {
  const Golden golden(spectrograms("clap_unfused"));
  for (const std::uint32_t seed : {3u, 8u}) {
    const trine::AnyEncoder encoder = load_clap(golden.directory, {.whole_clips = true, .seed = seed});
    for (const std::int64_t samples : {8'040, 18'400}) {
      const std::string name = std::to_string(samples) + ".seed" + std::to_string(seed);
      const Tensor wanted = golden.tensor("features." + name);
      EXPECT_LT(largest_difference(encoder.audio->preprocess(clip_of(samples, kRate)), wanted), 1e-4) << name;
      expect_features(encoder.audio->encode(clip_of(samples, kRate))[0], golden.tensor("vector." + name), name);
    }
  }
  EXPECT_NE(refusal<std::invalid_argument>([&] { load_clap(golden.directory, {.whole_clips = true}); }).find("seed"),
            std::string::npos);
  const trine::ClapFeatureExtractor extractor = trine::ClapFeatureExtractor::load(golden.directory);
  EXPECT_NE(refusal<std::invalid_argument>([&] { extractor(clip_of(8'001, kRate).samples); }).find("seed"),
            std::string::npos);
}

TEST(Clap, ShortClipsNeedNotBeFused) {
  const Golden golden(spectrograms("clap_fused"));
  const trine::AnyEncoder encoder = load_clap(golden.directory, {.fuse_short_clips = false});
  for (const std::string& name : golden.names("apart.")) {
    const trine::Audio clip = clip_of(std::stoll(name), kRate);
    expect_features(encoder.audio->encode(clip)[0], golden.tensor("apart." + name), name);
    EXPECT_GT(largest_difference(encoder.audio->encode(clip)[0], golden.tensor("vector." + name)), 1e-3) << name;
  }
}

TEST(Clap, VectorsDoNotDependOnThreadsOrTheBatch) {
  for (const char* name : {"clap_unfused", "clap_fused"}) expect_steady(*load_clap(kSpectrograms / name).audio);
  trine::ClapAudio network(trine::ClapConfig::load(kSpectrograms / "clap_fused/config.json").audio_config);
  trine::load_weights(*network, Checkpoint::open(kSpectrograms / "clap_fused"), "audio_model.audio_encoder.");
  const torch::NoGradGuard no_grad;
  const Tensor mels = 20 * noise("mels", {5, 4, 63, 64});
  for (const bool longer : {false, true}) {
    const Tensor all = network->forward(mels, longer);
    for (std::int64_t i = 0; i < 5; ++i) {
      EXPECT_LT(largest_difference(network->forward(mels.slice(0, i, i + 1), longer)[0], all[i]), 1e-5);
    }
  }
  const std::string sentence = refusal<std::invalid_argument>([&] { network->forward(mels.slice(1, 0, 1)); });
  EXPECT_NE(sentence.find("(N, 4, 1 to 64, 64), got [5, 1, 63, 64]"), std::string::npos) << sentence;
}

TEST(Clap, ClipsThatDoNotFitAreRefused) {
  const trine::AnyEncoder encoder = load_clap(kSpectrograms / "clap_fused");
  EXPECT_NE(clip_refusal(*encoder.audio, 0, kRate).find("0 samples"), std::string::npos);
  EXPECT_EQ(clip_refusal(*encoder.audio, 1, kRate), "accepted");
  EXPECT_EQ(clip_refusal(*encoder.audio, 8'000, kRate), "accepted");
  EXPECT_NE(clip_refusal(*encoder.audio, 8'001, kRate).find("at most 1 s"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder.audio, 1'000, 0).find("rate"), std::string::npos);
  EXPECT_NE(clip_refusal(*encoder.audio, 1'000, kRate, INFINITY).find("finite"), std::string::npos);
}

TEST(Clap, AnEmbedderHasBothModalities) {
  for (const char* name : {"clap_unfused", "clap_fused"}) {
    const Golden golden(spectrograms(name));
    const trine::Embedder model = trine::Embedder::load(golden.directory);
    EXPECT_EQ(model.modalities(), (std::vector<trine::Modality>{trine::Modality::text, trine::Modality::audio}));
    EXPECT_LT(largest_difference(model.embed_audio(clip_of(4'400, kRate)), golden.tensor("vector.4400")), 1e-5);
    EXPECT_LT(largest_difference(model.embed_text("a dog barks in the rain"), golden.tensor("text_features")[0]), 1e-5);
    EXPECT_NEAR(model.embed_audio(clip_of(18'400, kRate)).norm().item<float>(), 1, 1e-5);  // in windows
  }
}

TEST(Clap, DescribesItself) {
  const trine::AnyEncoder fused = load_clap(kSpectrograms / "clap_fused");
  const std::string audio = described(fused.audio->describe()), text = described(fused.text->describe());
  for (const char* part : {"model_type: clap\n", "8000 Hz", "at most 1 s", "64 htk bands from 50 to 3800 Hz",
                           "again and again, to 1 s", "copies of itself", "long_clips: refused", "relu",
                           "mean over the patches, projected, unit length", "softmax of", "parameters: "}) {
    EXPECT_NE(audio.find(part), std::string::npos) << part << " in " << audio;
  }
  for (const char* part : {"model_type: clap\n", "max_tokens: 38",
                           "the first token through the pooler, tanh, projected", "softmax of", "parameters: "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
  const auto long_clips = [](const char* name, const trine::ClapOptions& options) {
    return described(load_clap(kSpectrograms / name, options).audio->describe());
  };
  EXPECT_NE(long_clips("clap_fused", {.whole_clips = true}).find("three pieces: first, middle and last"),
            std::string::npos);
  EXPECT_NE(long_clips("clap_fused", {.whole_clips = true, .seed = 5}).find("three pieces, drawn with seed 5"),
            std::string::npos);
  EXPECT_NE(long_clips("clap_unfused", {.whole_clips = true, .seed = 5}).find("one piece, drawn with seed 5"),
            std::string::npos);
  EXPECT_NE(long_clips("clap_fused", {.fuse_short_clips = false}).find("fusion: not of a clip"), std::string::npos);
  EXPECT_NE(long_clips("clap_unfused", {}).find("16 slaney bands"), std::string::npos);
}

TEST(Clap, WrongConfigsAreRefusedByKey) {
  const auto load = [](const fs::path& path) { load_clap(path); };
  const Json deep = Json::array({1, 1, 1, 1, 1, 1, 1, 1, 1});
  expect_refusals(spectrograms("clap_fused"), "config.json",
                  {{"/model_type", "clapper"},
                   {"/projection_dim", 0},
                   {"/projection_dim", 13, "audio_projection.linear1.weight"},
                   {"/projection_hidden_act", "reluu"},
                   {"/audio_config", 3},
                   {"/audio_config/window_size", 0},
                   {"/audio_config/window_size", 16},
                   {"/audio_config/window_size", 8, "relative_position_bias_table"},
                   {"/audio_config/num_mel_bins", 60},
                   {"/audio_config/num_mel_bins", 32, "feature_size"},
                   {"/audio_config/spec_size", 1 << 20},
                   {"/audio_config/spec_size", 100},
                   {"/audio_config/hidden_act", "gelu_11"},
                   {"/audio_config/patch_size", Json::array({4})},
                   {"/audio_config/patch_size", Json::array({4, "4"})},
                   {"/audio_config/patch_size", 3},
                   {"/audio_config/patch_size", 5},
                   {"/audio_config/patch_size", 6, "proj.weight"},
                   {"/audio_config/patch_stride", Json::array({4, 5}), "patch_stride"},
                   {"/audio_config/hidden_size", 32},
                   {"/audio_config/depths", Json::array()},
                   {"/audio_config/depths", deep},
                   {"/audio_config/depths", Json::array({2, 0})},
                   {"/audio_config/depths", Json::array({2, 1, 1})},
                   {"/audio_config/depths", Json::array({2, 2}), "layers.1.blocks.1."},
                   {"/audio_config/depths", Json::array({1, 1}), "layers.0.blocks.1."},
                   {"/audio_config/num_attention_heads", Json::array({3, 4})},
                   {"/audio_config/num_attention_heads", 2},
                   {"/audio_config/enable_fusion", false},
                   {"/audio_config/fusion_type", "channel_map"},
                   {"/audio_config/flatten_patch_embeds", false},
                   {"/audio_config/patch_embed_input_channels", 4},
                   {"/audio_config/patch_embeds_hidden_size", 1 << 20},
                   {"/audio_config/enable_patch_layer_norm", false, "patch_embed.norm"},
                   {"/audio_config/qkv_bias", true, "query.bias"},
                   {"/audio_config/mlp_ratio", 0},
                   {"/audio_config/mlp_ratio", 65},
                   {"/audio_config/aff_block_r", 0},
                   {"/audio_config/aff_block_r", 4, "fusion_model"},
                   {"/audio_config/layer_norm_eps", 1},
                   {"/text_config/hidden_size", "16"},
                   {"/text_config/vocab_size", 200, "vocab_size"},
                   {"/text_config/num_attention_heads", 3},
                   {"/text_config/pad_token_id", 39},
                   {"/text_config/max_position_embeddings", 1 << 20}},
                  load);
  expect_refusals(spectrograms("clap_fused"), "processor_config.json",
                  {{"/feature_extractor/feature_extractor_type", "ASTFeatureExtractor"},
                   {"/feature_extractor/feature_size", 32},
                   {"/feature_extractor/sampling_rate", 0},
                   {"/feature_extractor/hop_length", 0},
                   {"/feature_extractor/hop_length", 100, "frames"},
                   {"/feature_extractor/max_length_s", 10, "max_length_s"},
                   {"/feature_extractor/max_length_s", 1.5},
                   {"/feature_extractor/fft_window_size", 255},
                   {"/feature_extractor/fft_window_size", 1 << 20},
                   {"/feature_extractor/frequency_min", -1},
                   {"/feature_extractor/frequency_max", 50},
                   {"/feature_extractor/truncation", "rand_trunc"},
                   {"/feature_extractor/truncation", "cut"},
                   {"/feature_extractor/padding", "mirror"}},
                  load);
  const Directory many(spectrograms("clap_fused"));
  many.change("processor_config.json", [](Json& json) {
    json["feature_extractor"]["sampling_rate"] = 768'000;
    json["feature_extractor"]["max_length_s"] = 3'600;
  });
  EXPECT_NE(refusal<std::runtime_error>([&] { load_clap(many.path()); }).find("samples, at most"), std::string::npos);
  const Directory vast(spectrograms("clap_audio"));
  vast.change("config.json", [](Json& json) {
    json["spec_size"] = 4'096;
    json["window_size"] = 64;
  });
  EXPECT_NE(refusal<std::runtime_error>([&] { load_clap(vast.path()); }).find("scores in a layer"), std::string::npos);
  const Directory heavy(spectrograms("clap_audio"));
  heavy.change("config.json", [](Json& json) {
    json["patch_embeds_hidden_size"] = 8'192;
    json["hidden_size"] = 16'384;
    json["depths"] = Json::array({64, 64});
  });
  EXPECT_NE(refusal<std::runtime_error>([&] { load_clap(heavy.path()); }).find("weights"), std::string::npos);
}

TEST(Clap, WrongWeightsAreRefusedByName) {
  const auto load = [](const fs::path& path) { load_clap(path); };
  const std::string audio = "audio_model.audio_encoder.";
  expect_weight_refusals(spectrograms("clap_unfused"), audio + "layers.0.downsample.reduction.weight",
                         audio + "layers.0.scale", load);
  expect_weight_refusals(spectrograms("clap_fused"), audio + "patch_embed.fusion_model.global_att.5.running_var",
                         audio + "patch_embed.scale", load);
  expect_weight_refusals(spectrograms("clap_fused"), "text_model.pooler.dense.weight", audio + "norm.scale", load);
  expect_weight_refusals(spectrograms("clap_fused"), "logit_scale_a", audio + "extra", load);
}

TEST(Clap, MissingFilesAreNamed) {
  for (const char* file : {"preprocessor_config.json", "tokenizer.json", "model.safetensors", "config.json"}) {
    const Directory directory(spectrograms("clap_unfused"));
    fs::remove(directory / file);
    const std::string sentence = refusal<std::exception>([&] { load_clap(directory.path()); });
    EXPECT_NE(sentence.find(file), std::string::npos) << sentence;
  }
}

}  // namespace
