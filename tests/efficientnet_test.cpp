#include "trine/encoders/efficientnet.h"

#include <stdexcept>
#include <thread>

#include "encoder_testing.h"
#include "trine/precision.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Checkpoint;
using trine::EfficientNet;
using trine::EfficientNetConfig;
using trine::Image;
using trine::load_efficientnet;

/// The pattern of make_encoders.py.
Image picture(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int value = ((x * (3 + c) + y * (7 - 2 * c)) / 4) ^ (x * y / 256);
        image.pixels.push_back(static_cast<std::uint8_t>(value & 255));
      }
    }
  }
  return image;
}

EfficientNetConfig config_of(const std::string& architecture) {
  const Directory directory;
  directory.write("config.json", Json{{"architecture", architecture}}.dump());
  return EfficientNetConfig::load(directory / "config.json");
}

/// The weights of make_encoders.py: scaled so that the signal keeps its size.
void fill(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : trine::state_dict(module)) {
    Tensor values = noise(name, tensor.sizes().vec());
    if (tensor.dim() > 1) {
      values = values * (2 / std::sqrt(static_cast<double>(tensor[0].numel())));
    } else if (name.ends_with("running_var") || name.ends_with("weight")) {
      values = 1 + values / 4;
    } else {
      values = values / 4;
    }
    Tensor(tensor).copy_(values);
  }
}

/// A checkpoint directory of Lite0 with those weights.
struct Lite0 {
  Lite0() {
    directory.write("config.json", R"({"architecture": "tf_efficientnet_lite0", "pretrained_cfg": {
        "input_size": [3, 64, 64], "crop_pct": 0.875, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}})");
    EfficientNet network(config_of("tf_efficientnet_lite0"));
    fill(*network);
    trine::save_tensors(directory / "model.safetensors", trine::state_dict(*network));
  }
  Directory directory;
};

TEST(EfficientNet, FeaturesEqualTheReference) {
  const Checkpoint expected = Checkpoint::open(kGolden / "efficientnet.safetensors");
  const torch::NoGradGuard no_grad;
  const Tensor pixels = noise("pixels", {1, 3, 75, 96});
  for (const std::string number : {"0", "1", "2", "3", "4"}) {
    EfficientNet network(config_of("tf_efficientnet_lite" + number));
    fill(*network);
    network->eval();
    const Tensor wanted = trine::load_tensor(expected, "lite" + number);
    EXPECT_LT(relative_difference(network->forward(pixels)[0], wanted), 1e-4) << number;
    network->fold();
    const Tensor folded = network->forward(pixels.contiguous(torch::MemoryFormat::ChannelsLast));
    EXPECT_LT(relative_difference(folded[0], wanted), 1e-4) << number;
    network->fold();
    EXPECT_EQ(largest_difference(network->forward(pixels.contiguous(torch::MemoryFormat::ChannelsLast)), folded), 0);
  }
}

TEST(EfficientNet, FeaturesDoNotDependOnBatchOrThreads) {
  const Lite0 lite;
  const auto encoder = load_efficientnet(lite.directory.path());
  const Tensor pixels = noise("pixels", {64, 3, 32, 32});
  const Tensor all = encoder->encode(pixels);
  EXPECT_EQ(all.sizes(), (std::vector<std::int64_t>{64, 1280}));
  EXPECT_FALSE(all.requires_grad());
  for (const std::int64_t size : {1, 7}) {
    for (std::int64_t i = 0; i < 10 * size && i < 64; i += size) {
      const std::int64_t end = std::min<std::int64_t>(64, i + size);
      ASSERT_LT(largest_difference(encoder->encode(pixels.slice(0, i, end)), all.slice(0, i, end)), 1e-5) << i;
    }
  }
  const auto [one, two] = with_one_and_two_threads([&] { return encoder->encode(pixels.slice(0, 0, 7)); });
  EXPECT_LT(largest_difference(one, two), 1e-5);
  std::vector<Tensor> found(3);
  std::vector<std::thread> threads;
  for (Tensor& tensor : found) threads.emplace_back([&] { tensor = encoder->encode(pixels.slice(0, 0, 7)); });
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& tensor : found) EXPECT_LT(largest_difference(tensor, one), 1e-5);
}

/// The layers of the first two stages are small.
TEST(EfficientNet, SmallLayersStayInFp32) {
  if (!trine::supports(trine::Precision::int8)) GTEST_SKIP() << "this machine does not compute in int8";
  const torch::NoGradGuard no_grad;
  const Tensor pixels = noise("pixels", {1, 3, 75, 96});
  EfficientNet exact(config_of("tf_efficientnet_lite0")), bytes(config_of("tf_efficientnet_lite0"));
  fill(*exact);
  fill(*bytes);
  exact->eval();
  bytes->eval();
  exact->fold();
  {
    const trine::LoadPrecision scope(trine::Precision::int8);
    bytes->fold();
  }
  const auto wanted = exact->stages(pixels, 2), found = bytes->stages(pixels, 2);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(found[i].equal(wanted[i])) << i;
  const Tensor features = exact->forward(pixels), rounded = bytes->forward(pixels);
  EXPECT_FALSE(rounded.equal(features));
  EXPECT_GE(torch::cosine_similarity(rounded, features, -1).item<double>(), 0.99);
}

TEST(EfficientNet, TunedTensorsReplaceTheirNamesakes) {
  const Lite0 lite;
  EfficientNet network(config_of("tf_efficientnet_lite0"));
  fill(*network);
  network->eval();
  const torch::NoGradGuard no_grad;
  const std::string name = "blocks.6.0.conv_pwl.weight";
  const Tensor tuned = trine::state_dict(*network).at(name) * 0.5;
  trine::save_tensors(lite.directory / "tuned.safetensors", {{name, tuned}});
  trine::copy_weights(*network, Checkpoint::open(lite.directory / "tuned.safetensors"));
  const Tensor pixels = noise("pixels", {2, 3, 64, 64});
  const Tensor wanted = network->forward(pixels);
  EXPECT_LT(relative_difference(
                load_efficientnet(lite.directory.path(), lite.directory / "tuned.safetensors")->encode(pixels), wanted),
            1e-4);
  EXPECT_GT(relative_difference(load_efficientnet(lite.directory.path())->encode(pixels), wanted), 1e-2);
}

TEST(EfficientNet, FrozenBlocksStayAsTheyAre) {
  EfficientNet network(config_of("tf_efficientnet_lite0"));
  fill(*network);
  network->freeze_blocks(2);
  network->train();
  const auto before = trine::state_dict(*network);
  std::map<std::string, Tensor> copies;
  for (const auto& [name, tensor] : before) copies[name] = tensor.clone();
  network->forward(noise("pixels", {2, 3, 64, 64})).square().mean().backward();
  for (const auto& item : network->named_parameters()) {
    const bool frozen = item.key().starts_with("conv_stem.") || item.key().starts_with("bn1.") ||
                        item.key().starts_with("blocks.0.0.") || item.key().starts_with("blocks.1.0.");
    EXPECT_EQ(item.value().grad().defined(), !frozen) << item.key();
  }
  const auto after = trine::state_dict(*network);
  EXPECT_EQ(largest_difference(after.at("bn1.running_mean"), copies.at("bn1.running_mean")), 0);
  EXPECT_EQ(largest_difference(after.at("blocks.1.0.bn3.running_var"), copies.at("blocks.1.0.bn3.running_var")), 0);
  EXPECT_GT(largest_difference(after.at("blocks.1.1.bn3.running_var"), copies.at("blocks.1.1.bn3.running_var")), 0);
}

TEST(EfficientNet, WrongDirectoriesAreRefusedByKey) {
  const Lite0 lite;
  const auto sentence = [&](const std::function<void(Json&)>& change) {
    const Directory directory(lite.directory.path());
    directory.change("config.json", change);
    return refusal<std::runtime_error>([&] { load_efficientnet(directory.path()); });
  };
  EXPECT_EQ(sentence([](Json&) {}), "accepted");
  const std::vector<std::pair<const char*, Json>> cases = {{"input_size", {3, 64, 65}},
                                                           {"input_size", {3, 1 << 20, 1 << 20}},
                                                           {"input_size", 64},
                                                           {"crop_pct", 0},
                                                           {"crop_pct", nullptr},
                                                           {"crop_pct", 1.5},
                                                           {"mean", {0.5, 0.5}},
                                                           {"std", {0.5, 0.5, 0}},
                                                           {"mean", "half"},
                                                           {"std", nullptr},
                                                           {"interpolation", nullptr}};
  for (const auto& [key, value] : cases) {
    const std::string found = sentence([key = key, &value = value](Json& json) {
      if (value.is_null())
        json["pretrained_cfg"].erase(key);
      else
        json["pretrained_cfg"][key] = value;
    });
    EXPECT_NE(found.find(key), std::string::npos) << key << " " << value << ": " << found;
  }
  EXPECT_NE(sentence([](Json& json) { json["pretrained_cfg"]["interpolation"] = "random"; }).find("random"),
            std::string::npos);
  EXPECT_NE(sentence([](Json& json) { json["architecture"] = "tf_efficientnet_b0"; }).find("architecture"),
            std::string::npos);
  EXPECT_NE(sentence([](Json& json) { json["architecture"] = "tf_efficientnet_lite2"; }).find("blocks.1.2."),
            std::string::npos);
  const auto encoder = load_efficientnet(lite.directory.path());
  EXPECT_NE(refusal<std::invalid_argument>([&] { encoder->encode(torch::zeros({3, 64, 64})); }), "accepted");
  EXPECT_NE(refusal<std::invalid_argument>([&] { encoder->encode(torch::zeros({1, 1, 64, 64})); }), "accepted");
  EXPECT_NE(refusal<std::invalid_argument>([&] { encoder->preprocess(picture(2001, 1)); }), "accepted");
  EXPECT_NE(refusal<std::invalid_argument>([&] { encoder->preprocess(Image{}); }), "accepted");
  EXPECT_EQ(encoder->encode(torch::zeros({0, 3, 64, 64})).size(0), 0);
}

TEST(EfficientNet, DescribesItself) {
  const Lite0 lite;
  std::string all;
  for (const auto& [key, value] : load_efficientnet(lite.directory.path())->describe())
    all += key + ": " + value + "\n";
  for (const char* part : {"architecture: tf_efficientnet_lite0", "73 px", "bicubic", "(0.5, 0.5, 0.5)", "relu6"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " in " << all;
  }
}

TEST(EfficientNet, RealPicturesEqualTheReference) {
  const fs::path directory = cached("tf_efficientnet_lite0");
  TRINE_NEEDS_CACHED(directory);
  const Checkpoint expected = Checkpoint::open(kGolden / "real_tf_efficientnet_lite0.safetensors");
  const auto encoder = load_efficientnet(directory);
  double largest = 0;
  for (const auto& [width, height] : {std::pair{320, 213}, {257, 391}, {90, 60}, {224, 224}}) {
    const std::string name = std::to_string(width) + "x" + std::to_string(height);
    const Tensor pixels = encoder->preprocess(picture(width, height));
    ASSERT_EQ(pixels.sizes(), (std::vector<std::int64_t>{3, 224, 224}));
    const Tensor sample = pixels.slice(1, 0, std::nullopt, 16).slice(2, 0, std::nullopt, 16);
    EXPECT_LT(largest_difference(sample, trine::load_tensor(expected, name + ".pixels")), 1e-6) << name;
    const double difference =
        relative_difference(encoder->encode(pixels.unsqueeze(0))[0], trine::load_tensor(expected, name + ".features"));
    EXPECT_LT(difference, 1e-4) << name;
    largest = std::max(largest, difference);
  }
  RecordProperty("largest_relative_difference", std::to_string(largest));
}

}  // namespace
