#pragma once

#include <map>
#include <string>
#include <vector>

#include "encoder_testing.h"
#include "trine/encoders/encoder.h"
#include "trine/encoders/preprocess.h"

/// What the tests of image, and image and text, families share: the cases of make_vision.py.

namespace trine::testing {

inline const fs::path kVision = fs::path(TRINE_TEST_DATA) / "golden/vision";

inline Image to_image(const torch::Tensor& bytes) {  // (H, W, 3)
  const torch::Tensor flat = bytes.contiguous();
  const auto* begin = flat.const_data_ptr<std::uint8_t>();
  return {static_cast<int>(bytes.size(1)), static_cast<int>(bytes.size(0)), {begin, begin + flat.numel()}};
}

inline Image picture(const std::string& name) {
  static const Checkpoint pictures = Checkpoint::open(kVision / "pictures.safetensors");
  return to_image(load_tensor(pictures, name));
}

/// What the reference made, of a folder: a name of those above, or a path.
struct Golden {
  explicit Golden(const std::string& name)
      : directory(kVision / name), expected(Checkpoint::open(directory / "expected.safetensors")) {}

  torch::Tensor tensor(const std::string& name) const { return load_tensor(expected, name); }

  std::vector<std::string> texts() const {
    return detail::parse_json("test", expected.metadata().at("texts"), "texts").get<std::vector<std::string>>();
  }

  /// What follows `prefix` in the names.
  std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> found;
    for (const std::string& name : expected.names()) {
      if (name.starts_with(prefix)) found.push_back(name.substr(prefix.size()));
    }
    return found;
  }

  fs::path directory;
  Checkpoint expected;
};

/// Features equal to the contract, and far closer.
inline void expect_features(const torch::Tensor& found, const torch::Tensor& wanted, const std::string& what) {
  EXPECT_LT(relative_difference(found, wanted), 1e-5) << what;
  EXPECT_GT(smallest_cosine(found, wanted), 0.999999) << what;
}

/// Bytes, pixels and features of every picture.
inline void expect_pictures(const Golden& golden, const ImageEncoder& encoder, const ImageProcessor& processor) {
  for (const std::string& name : golden.names("features.")) {
    const torch::Tensor pixels = encoder.preprocess(picture(name));
    if (golden.expected.contains("bytes." + name)) {
      EXPECT_EQ(processor.resize_and_crop(picture(name)).pixels, to_image(golden.tensor("bytes." + name)).pixels)
          << golden.directory << name;
    }
    if (golden.expected.contains("pixels." + name)) {
      EXPECT_TRUE(torch::equal(pixels, golden.tensor("pixels." + name))) << golden.directory << name;
    }
    expect_features(encoder.encode(pixels.unsqueeze(0))[0], golden.tensor("features." + name),
                    golden.directory.string() + " " + name);
  }
}

inline void expect_pictures(const Golden& golden, const ImageEncoder& encoder) {
  expect_pictures(golden, encoder, ImageProcessor::load(golden.directory, "ViTImageProcessor"));
}

inline void expect_texts(const Golden& golden, const TextEncoder& encoder) {
  expect_features(encoder.encode(golden.texts()), golden.tensor("text_features"), golden.directory.string());
}

/// The vectors of all pictures at once, of some, and of one at a time are the same.
inline void expect_no_batch_effect(const ImageEncoder& encoder, const std::vector<std::string>& names) {
  std::vector<torch::Tensor> pixels;
  for (const std::string& name : names) pixels.push_back(encoder.preprocess(picture(name)));
  const torch::Tensor batch = torch::stack(pixels);
  const auto [one, two] = with_one_and_two_threads([&] { return encoder.encode(batch); });
  EXPECT_LT(largest_difference(one, two), 1e-5);
  EXPECT_LT(largest_difference(encoder.encode(batch.flip(0)).flip(0), one), 1e-5);
  for (std::int64_t i = 0; i < batch.size(0); ++i) {
    EXPECT_LT(largest_difference(encoder.encode(batch.slice(0, i, i + 1))[0], one[i]), 1e-5);
  }
  EXPECT_EQ(encoder.encode(batch.slice(0, 0, 0)).sizes(), (std::vector<std::int64_t>{0, encoder.dim()}));
  EXPECT_FALSE(one.requires_grad());
}

}  // namespace trine::testing
