#include "trine/encoders/preprocess.h"

#include <stdexcept>

#include "vision_testing.h"

namespace {

using namespace trine::testing;
using trine::Image;
using trine::ImageProcessor;
using trine::ResizeFilter;

/// A directory with one config of an image processor.
ImageProcessor load(const Json& config, const char* fallback = "CLIPImageProcessor") {
  const Directory directory;
  directory.write("preprocessor_config.json", config.dump());
  return ImageProcessor::load(directory.path(), fallback);
}

TEST(ImageProcessor, EveryOptionEqualsTheReference) {
  const Golden golden("processors");
  const Json cases = trine::detail::read_json("test", golden.directory / "cases.json");
  std::size_t compared = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const ImageProcessor processor = load(cases[i]);
    const std::string number = std::to_string(i);
    for (const std::string& name : golden.names(number + ".bytes.")) {
      const Image found = processor.resize_and_crop(picture(name));
      const Image wanted = to_image(golden.tensor(number + ".bytes." + name));
      EXPECT_TRUE(found.width == wanted.width && found.height == wanted.height && found.pixels == wanted.pixels)
          << cases[i] << " " << name << ": " << found.width << " x " << found.height;
      ++compared;
    }
    for (const std::string& name : golden.names(number + ".pixels.")) {
      const torch::Tensor found = processor(picture(name)), wanted = golden.tensor(number + ".pixels." + name);
      EXPECT_TRUE(torch::equal(found, wanted)) << cases[i] << " " << name << " " << largest_difference(found, wanted);
    }
  }
  EXPECT_GT(compared, 100u);
}

TEST(ImageProcessor, FilterNamesAreReadBack) {
  for (const ResizeFilter filter : {ResizeFilter::nearest, ResizeFilter::box, ResizeFilter::bilinear,
                                    ResizeFilter::hamming, ResizeFilter::bicubic, ResizeFilter::lanczos}) {
    EXPECT_EQ(trine::resize_filter(trine::to_string(filter)), filter);
  }
}

TEST(ImageProcessor, TheNewerFileWinsWhereItNestsOne) {
  const Directory directory;
  directory.write("preprocessor_config.json", R"({"image_processor_type": "CLIPImageProcessor", "crop_size": 20})");
  directory.write("processor_config.json", R"({"processor_class": "CLIPProcessor"})");
  EXPECT_EQ(ImageProcessor::load(directory.path(), "").crop_size.height, 20);
  directory.write("processor_config.json",
                  R"({"image_processor": {"image_processor_type": "CLIPImageProcessor", "crop_size": 24}})");
  EXPECT_EQ(ImageProcessor::load(directory.path(), "").crop_size.height, 24);
}

TEST(ImageProcessor, AFileThatSaysNothingIsTheFamilys) {
  const ImageProcessor clip = load(Json::object());
  EXPECT_EQ(clip.image_processor_type, "CLIPImageProcessor");
  EXPECT_EQ(clip.output_size(), (std::array<int, 2>{224, 224}));
  EXPECT_FLOAT_EQ(clip.image_mean[0], 0.48145466f);
  const ImageProcessor vit = load(Json::object(), "ViTImageProcessor");
  EXPECT_EQ(vit.resample, ResizeFilter::bilinear);
  EXPECT_FALSE(vit.do_center_crop);
  EXPECT_FALSE(load({{"do_center_crop", false}}).output_size().has_value());
}

TEST(ImageProcessor, DescribesItself) {
  const std::string clip = described(load(Json::object()).describe());
  for (const char* part : {"CLIPImageProcessor", "short side to 224 px", "bicubic (Pillow)", "centre crop 224 x 224",
                           "mean (0.481455, 0.457828, 0.408211)", "std (0.26"}) {
    EXPECT_NE(clip.find(part), std::string::npos) << part << " in " << clip;
  }
  const std::string naflex = described(load(Json::object(), "Siglip2ImageProcessor").describe());
  EXPECT_NE(naflex.find("multiples of 16 px, at most 256 patches, bilinear"), std::string::npos) << naflex;
}

TEST(ImageProcessor, WrongOptionsAreRefusedByKey) {
  const std::vector<std::pair<const char*, Json>> cases = {
      {"image_processor_type", "DetrImageProcessor"},
      {"image_processor_type", 3},
      {"size", 0},
      {"size", -3},
      {"size", 3.5},
      {"size", 1 << 20},
      {"size", Json::array({1, 2, 3})},
      {"size", {{"height", 3}}},
      {"size", {{"longest_edge", 3}}},
      {"size", {{"height", 3}, {"width", 3}, {"shortest_edge", 3}}},
      {"size", {{"height", 3}, {"depth", 3}}},
      {"size", "224"},
      {"crop_size", {{"shortest_edge", 3}}},
      {"resample", 6},
      {"resample", -2},
      {"resample", "bicubic"},
      {"resample", nullptr},
      {"size", nullptr},
      {"crop_size", nullptr},
      {"rescale_factor", nullptr},
      {"image_mean", nullptr},
      {"do_resize", 1},
      {"do_pad", true},
      {"rescale_factor", "1/255"},
      {"image_mean", Json::array({0.5, 0.5})},
      {"image_mean", "0.5"},
      {"image_std", Json::array({0.5, 0, 0.5})},
      {"image_std", -1}};
  for (const auto& [key, value] : cases) {
    const std::string sentence = refusal<std::runtime_error>([&, k = key, v = value] { load({{k, v}}); });
    EXPECT_NE(sentence.find(key), std::string::npos) << key << " " << value << ": " << sentence;
  }
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"patch_size", 0}, {"max_num_patches", 0}}) {
    const std::string sentence = refusal<std::runtime_error>([&, k = key, v = value] {
      load({{k, v}}, "Siglip2ImageProcessor");
    });
    EXPECT_NE(sentence.find(key), std::string::npos) << sentence;
  }
  const Directory empty;
  const std::string neither =
      refusal<std::runtime_error>([&] { ImageProcessor::load(empty.path(), "CLIPImageProcessor"); });
  EXPECT_NE(neither.find("preprocessor_config.json"), std::string::npos) << neither;
}

TEST(ImageProcessor, PicturesThatCannotBeResizedAreRefused) {
  const ImageProcessor clip = load(Json::object());
  for (const Image& image :
       {Image{}, Image{2, 2, std::vector<std::uint8_t>(11)}, Image{900'000, 1, std::vector<std::uint8_t>(2'700'000)}}) {
    EXPECT_NE(refusal<std::invalid_argument>([&] { clip(image); }), "accepted");
  }
  const ImageProcessor padded =
      load({{"do_resize", false}, {"do_pad", true}, {"pad_size", 10}}, "SiglipImageProcessor");
  const std::string large = refusal<std::invalid_argument>([&] { padded(picture("photo")); });
  EXPECT_NE(large.find("57 x 40"), std::string::npos) << large;
}

}  // namespace
