#include "trine/encoders/encoder.h"

#include <stdexcept>
#include <system_error>

#include "encoder_testing.h"

namespace {

using namespace trine::testing;
using trine::load_encoder;

std::string sentence(const char* config) {
  const Directory directory;
  directory.write("config.json", config);
  return refusal<std::runtime_error>([&] { load_encoder(directory.path()); });
}

TEST(Encoder, TheConfigDecidesTheKind) {
  const trine::AnyEncoder text = load_encoder(kGolden / "bert");
  EXPECT_TRUE(text.text && !text.image && !text.audio);
  EXPECT_EQ(text.text->dim(), 32);
  const trine::AnyEncoder audio = load_encoder(kGolden / "whisper");
  EXPECT_TRUE(audio.audio && !audio.image && !audio.text);
  EXPECT_EQ(audio.audio->dim(), 16);
}

TEST(Encoder, UnknownFamiliesAreRefused) {
  const std::string type = sentence(R"({"model_type": "gpt2"})");
  EXPECT_NE(type.find(R"("model_type" is "gpt2", known are bert, distilbert, )"), std::string::npos) << type;
  const std::string architecture = sentence(R"({"architecture": "resnet18"})");
  EXPECT_NE(architecture.find(R"("architecture" is "resnet18")"), std::string::npos) << architecture;
  for (const char* config : {"{}", "[]", "3"}) {
    EXPECT_NE(sentence(config).find(R"(neither "model_type" nor "architecture")"), std::string::npos) << config;
  }
  EXPECT_NE(sentence(R"({"model_type": 3})").find("model_type"), std::string::npos);
  EXPECT_NE(sentence("{").find("config.json"), std::string::npos);
}

TEST(Encoder, MissingFilesAreNamed) {
  const Directory directory;
  const std::string config = refusal<std::system_error>([&] { load_encoder(directory.path()); });
  EXPECT_NE(config.find("config.json"), std::string::npos) << config;
  for (const char* family : {"bert", "whisper"}) {
    const Directory copy(kGolden / family);
    fs::remove(copy / "model.safetensors");
    const std::string weights = refusal<std::runtime_error>([&] { load_encoder(copy.path()); });
    EXPECT_NE(weights.find("model.safetensors"), std::string::npos) << weights;
  }
}

TEST(Encoder, RealDirectoriesLoad) {
  const fs::path image = cached("tf_efficientnet_lite0"), text = cached("all-MiniLM-L6-v2"),
                 audio = cached("whisper-tiny.en");
  TRINE_NEEDS_CACHED(image);
  TRINE_NEEDS_CACHED(text);
  TRINE_NEEDS_CACHED(audio);
  EXPECT_EQ(load_encoder(image).image->dim(), 1280);
  EXPECT_EQ(load_encoder(text).text->dim(), 384);
  EXPECT_EQ(load_encoder(audio).audio->dim(), 384);
}

}  // namespace
