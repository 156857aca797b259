#include "trine/apps/damage.h"

#include <random>

#include "encoder_testing.h"
#include "trine/encoders/efficientnet.h"
#include "trine/layers.h"

namespace {

using trine::Damage;
using trine::DamageDetector;
using trine::DamageLabel;
using trine::Embedder;
using trine::Image;
using trine::ImageInput;
using trine::testing::Directory;
using trine::testing::refusal;

/// An EfficientNet-Lite0 with random weights: what it sees is enough to tell a black square from none.
const Embedder& eye() {
  static const Directory folder;
  static const Embedder model = [] {
    folder.write("config.json", R"({"architecture": "tf_efficientnet_lite0", "num_classes": 0})");
    torch::manual_seed(1);
    trine::EfficientNet network(trine::EfficientNetConfig::load(folder / "config.json"));
    trine::reset_parameters(*network);
    trine::save_tensors(folder / "model.safetensors", trine::state_dict(*network));
    return Embedder::load(folder.path());
  }();
  return model;
}

/// Noise, with a square of one colour in it unless its side is 0.
Image picture(int seed, int side = 0, std::array<std::uint8_t, 3> colour = {0, 0, 0}) {
  std::mt19937 random(static_cast<unsigned>(seed));
  Image image{.width = 64, .height = 80, .pixels = std::vector<std::uint8_t>(64 * 80 * 3)};
  for (auto& value : image.pixels) value = static_cast<std::uint8_t>(120 + random() % 60);
  const int left = static_cast<int>(random() % 30), top = static_cast<int>(random() % 40);
  for (int y = top; y < top + side; ++y) {
    for (int x = left; x < left + side; ++x) {
      for (std::size_t c = 0; c < 3; ++c) image.pixels[static_cast<std::size_t>(y * 64 + x) * 3 + c] = colour[c];
    }
  }
  return image;
}

struct Photos {
  std::vector<ImageInput> images;
  std::vector<DamageLabel> labels;
};

/// Black holes and white stains, small and large, and as many pictures without either.
Photos photos(int first, int count) {
  Photos all;
  for (int i = first; i < first + count; ++i) {
    const int side = i % 2 == 0 ? 12 : 26;
    all.images.insert(all.images.end(), {picture(4 * i), picture(4 * i + 1), picture(4 * i + 2, side),
                                         picture(4 * i + 3, side, {255, 255, 255})});
    const float severity = i % 2 == 0 ? 0.1f : 0.9f;
    all.labels.insert(all.labels.end(), {{}, {}, {"hole", severity}, {"stain", severity}});
  }
  return all;
}

const DamageDetector& detector() {
  static const DamageDetector fitted = [] {
    const Photos train = photos(0, 6);
    return DamageDetector::fit(eye(), train.images, train.labels, {.epochs = 40, .trained_on = "squares"});
  }();
  return fitted;
}

TEST(DamageDetector, FindsInNewPicturesWhatItLearned) {
  EXPECT_EQ(detector().types(), (std::vector<std::string>{"hole", "stain"}));
  const Photos test = photos(100, 4);
  int right = 0;
  for (std::size_t i = 0; i < test.images.size(); ++i) {
    const Damage damage = detector().inspect(test.images[i]);
    const bool damaged = test.labels[i].type != "intact";
    right += (damage.probability > 0.5f) == damaged;
    EXPECT_EQ(damage.trained_on, "squares");
    EXPECT_EQ(damage.types.empty(), !(damage.probability > 0.7f));
    EXPECT_EQ(damage.severity_name.empty(), damage.types.empty());
    if (damage.types.empty()) {
      EXPECT_EQ(damage.severity, 0);
      continue;
    }
    ASSERT_EQ(damage.types.size(), 2u);
    EXPECT_GE(damage.types[0].probability, damage.types[1].probability);
    EXPECT_NEAR(damage.types[0].probability + damage.types[1].probability, 1, 1e-4);
    EXPECT_GE(damage.severity, 0);
    EXPECT_LE(damage.severity, 1);
    const char* name = damage.severity < 1 / 3.0f ? "light" : damage.severity < 2 / 3.0f ? "moderate" : "severe";
    EXPECT_EQ(damage.severity_name, name);
  }
  EXPECT_GE(right, 14) << "of 16";
}

TEST(DamageDetector, ASavedHeadSaysTheSame) {
  const Directory folder;
  detector().save(folder / "head.safetensors");
  const DamageDetector loaded = DamageDetector::load(eye(), folder / "head.safetensors");
  EXPECT_EQ(loaded.types(), detector().types());
  EXPECT_EQ(loaded.describe(), detector().describe());
  const Image photo = picture(500, 20);
  EXPECT_NEAR(loaded.inspect(photo).probability, detector().inspect(photo).probability, 5e-3);  // fp16
  // a head of other maps, or no head at all
  auto tensors = std::map<std::string, torch::Tensor>{{"mean", torch::zeros({3})}};
  trine::save_tensors(folder / "other.safetensors", tensors,
                      {{"types", "[\"a\"]"}, {"encoder", "tf_efficientnet_lite2"}, {"trained_on", "x"}});
  EXPECT_NE(refusal<std::runtime_error>([&] { DamageDetector::load(eye(), folder / "other.safetensors"); }),
            "accepted");
  trine::save_tensors(folder / "other.safetensors", tensors,
                      {{"types", "[\"a\"]"}, {"encoder", "tf_efficientnet_lite0"}, {"trained_on", "x"}});
  EXPECT_NE(refusal<std::runtime_error>([&] { DamageDetector::load(eye(), folder / "other.safetensors"); }),
            "accepted");
  trine::save_tensors(folder / "other.safetensors", tensors);
  EXPECT_NE(refusal<std::runtime_error>([&] {
              DamageDetector::load(eye(), folder / "other.safetensors");
            }).find("no head for damage"),
            std::string::npos);
}

TEST(DamageDetector, SaysWhatItCannotDo) {
  EXPECT_NE(refusal<std::runtime_error>([] { DamageDetector::load(eye()); }).find("has no head for damage"),
            std::string::npos);
  const Embedder texts = Embedder::load(trine::testing::kGolden / "bert");
  const Photos two = photos(0, 2);
  EXPECT_NE(refusal<std::runtime_error>([&] {
              DamageDetector::fit(texts, two.images, two.labels);
            }).find("EfficientNet-Lite"),
            std::string::npos);
  const auto fit = [&](const std::vector<DamageLabel>& labels, std::int64_t epochs = 1) {
    return refusal<std::invalid_argument>([&] {
      DamageDetector::fit(eye(), std::vector<ImageInput>(labels.size() ? 4 : 0, picture(1)), labels,
                          {.epochs = epochs});
    });
  };
  EXPECT_EQ(fit({{}, {}, {}}), "[DamageDetector] wanted a label for each photo, got 4 photos and 3 labels");
  EXPECT_EQ(fit({{}, {}, {}, {}}), "[DamageDetector] wanted intact photos and damaged ones, got intact ones only");
  EXPECT_EQ(fit({{}, {}, {}, {"tear"}}), "[DamageDetector] wanted two photos of \"tear\" at least, got 1");
  EXPECT_EQ(fit({{"tear"}, {"tear"}, {"dent"}, {"dent"}}),
            "[DamageDetector] wanted two photos of \"intact\" at least, got 0");
  EXPECT_EQ(fit({{}, {}, {"tear", 1.5f}, {"tear"}}), "[DamageDetector] a severity must be 0 to 1, got 1.5");
  EXPECT_NE(fit({{}, {}, {"", 0.5f}, {"tear"}}), "accepted");
  EXPECT_NE(fit({{}, {}, {"tear"}, {"tear"}}, 0), "accepted");
  EXPECT_NE(fit({}), "accepted");
  EXPECT_THROW(detector().inspect(std::filesystem::path("nowhere.jpg")), std::exception);
  EXPECT_THROW(detector().inspect(Image{.width = 4, .height = 4, .pixels = {}}), std::invalid_argument);
}

TEST(DamageDetector, TakesPhotosOfAnyShape) {
  for (const auto& [width, height] : {std::pair{1, 1}, {300, 3}, {3, 500}, {1000, 700}}) {
    const Image image{.width = width,
                      .height = height,
                      .pixels = std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3), 90)};
    const Damage damage = detector().inspect(image);
    EXPECT_TRUE(damage.probability >= 0 && damage.probability <= 1) << width << " x " << height;
  }
}

}  // namespace
