#include "trine/encoders/preprocess.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <sstream>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/config.h"
#include "encoders/towers.h"
#include "encoders/video_processor.h"
#include "input/detail/pixels.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kLoad = "ImageProcessor";
constexpr const char* kPreprocess = "preprocess";
constexpr int kMaxAspect = 1000;  // with the short side at the network's size, more would be beyond resize's limit
constexpr int kMaxSide = 4096;    // pixels an image processor may ask for

/// By Pillow's number of the filter.
constexpr std::array<ResizeFilter, 6> kFilters{ResizeFilter::nearest, ResizeFilter::lanczos, ResizeFilter::bilinear,
                                               ResizeFilter::bicubic, ResizeFilter::box,     ResizeFilter::hamming};

constexpr std::array<float, 3> kClipMean{0.48145466f, 0.4578275f, 0.40821073f};
constexpr std::array<float, 3> kClipStd{0.26862954f, 0.26130258f, 0.27577711f};
constexpr std::array<float, 3> kImageNetMean{0.485f, 0.456f, 0.406f};
constexpr std::array<float, 3> kImageNetStd{0.229f, 0.224f, 0.225f};
constexpr std::array<float, 3> kHalf{0.5f, 0.5f, 0.5f};

constexpr ImageSize square(int side) { return {.height = side, .width = side}; }

/// The class attributes of a processor: what holds where the file says nothing.
struct Type {
  const char* name;
  ImageSize size;
  ResizeFilter resample;
  bool do_center_crop;
  ImageSize crop_size;
  std::array<float, 3> mean, std;
  bool default_to_square;  ///< what a single number as "size" means
  int patch_size;
  int max_num_patches;
  bool resizes = true;  ///< whether the class resizes, rescales and normalises by itself
};
constexpr Type kPeVideo{
    "PeVideoVideoProcessor", {}, ResizeFilter::bilinear, false, {}, kHalf, kHalf, true, 0, 0, false};
constexpr ImageSize kShortest224{.shortest_edge = 224};
constexpr std::array<Type, 5> kTypes{{
    {"CLIPImageProcessor", kShortest224, ResizeFilter::bicubic, true, square(224), kClipMean, kClipStd, false, 0, 0},
    {"SiglipImageProcessor", square(224), ResizeFilter::bicubic, false, {}, kHalf, kHalf, false, 0, 0},
    {"Siglip2ImageProcessor", {}, ResizeFilter::bilinear, false, {}, kHalf, kHalf, true, 16, 256},
    {"ViTImageProcessor", square(224), ResizeFilter::bilinear, false, {}, kHalf, kHalf, true, 0, 0},
    {"BitImageProcessor", kShortest224, ResizeFilter::bicubic, true, square(224), kClipMean, kClipStd, false, 0, 0},
}};

struct SizeKey {
  const char* name;
  int ImageSize::* member;
};
constexpr std::array<SizeKey, 6> kSizeKeys{{{"height", &ImageSize::height},
                                            {"width", &ImageSize::width},
                                            {"shortest_edge", &ImageSize::shortest_edge},
                                            {"longest_edge", &ImageSize::longest_edge},
                                            {"max_height", &ImageSize::max_height},
                                            {"max_width", &ImageSize::max_width}}};

/// "CLIPFeatureExtractor", "CLIPImageProcessorFast" and "CLIPImageProcessorPil" are CLIPImageProcessor.
std::string read_type(const detail::Json& json, std::string_view fallback) {
  auto name = detail::get_or<std::string>(kLoad, json, "image_processor_type", "");
  if (name.empty()) {
    name = detail::get_or<std::string>(kLoad, json, "feature_extractor_type", std::string(fallback));
    constexpr std::string_view kOld = "FeatureExtractor";
    if (const auto at = name.find(kOld); at != std::string::npos) name.replace(at, kOld.size(), "ImageProcessor");
  }
  for (const std::string_view ending : {"Fast", "Pil"}) {
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  }
  return name;
}

/// Where a key is missing the class decides; null switches off.
bool read_switch(const detail::Json& json, const char* key, bool fallback) {
  const auto found = json.find(key);
  if (found == json.end()) return fallback;
  return found->is_null() ? false : detail::get<bool>(kLoad, json, key);
}

int read_side(const detail::Json& json, const char* key) {
  return static_cast<int>(detail::read_size(kLoad, json, key, kMaxSide));
}

/// {"height": ..., "width": ...} and its like; older files have a number or a pair.
ImageSize read_image_size(const detail::Json& json, const char* key, const ImageSize& fallback, bool to_square) {
  const auto found = json.find(key);
  if (found == json.end()) return fallback;
  if (found->is_null()) return {};
  if (found->is_number()) {
    const int side = read_side(json, key);
    return to_square ? square(side) : ImageSize{.shortest_edge = side};
  }
  if (found->is_array()) {
    if (found->size() != 2) detail::failure(kLoad, "\"", key, "\" has ", found->size(), " values, wanted 2");
    return {.height = read_side({{key, found->at(0)}}, key), .width = read_side({{key, found->at(1)}}, key)};
  }
  ImageSize size;
  for (const auto& [name, member] : kSizeKeys) {
    if (found->is_object() && found->contains(name)) size.*member = read_side(*found, name);
  }
  const auto known =
      std::count_if(kSizeKeys.begin(), kSizeKeys.end(), [&](const SizeKey& k) { return size.*k.member; });
  const bool pair = size.height && size.width, box = size.max_height && size.max_width;
  const bool edges = size.shortest_edge != 0;
  if (static_cast<std::size_t>(known) != found->size() || known != (pair || box || size.longest_edge ? 2 : 1) ||
      !(pair || box || edges)) {
    detail::failure(
        kLoad, "\"", key, "\" is ", found->dump(),
        ", wanted height and width, shortest_edge with or without longest_edge, or max_height and max_width");
  }
  return size;
}

/// Pillow's number of a filter.
ResizeFilter read_filter(const detail::Json& json, ResizeFilter fallback) {
  if (!json.contains("resample")) return fallback;
  const auto number = detail::get<std::int64_t>(kLoad, json, "resample");
  if (number < 0 || number >= std::ssize(kFilters)) {
    detail::failure(kLoad, "\"resample\" is ", number, ", wanted 0 to ", kFilters.size() - 1);
  }
  return kFilters[static_cast<std::size_t>(number)];
}

/// One number for red, green and blue, or one for all three.
std::array<float, 3> read_channels(const detail::Json& json, const char* key, const std::array<float, 3>& fallback) {
  const auto found = json.find(key);
  if (found == json.end()) return fallback;
  if (found->is_number()) {
    const auto value = detail::get<float>(kLoad, json, key);
    return {value, value, value};
  }
  const auto values = detail::get<std::vector<float>>(kLoad, json, key);
  if (values.size() != 3) detail::failure(kLoad, "\"", key, "\" has ", values.size(), " values, wanted 3");
  return {values[0], values[1], values[2]};
}

void check(const ImageProcessor& processor) {
  const auto is_pair = [](const ImageSize& size) { return size.height != 0 && size.width != 0; };
  const ImageSize& size = processor.size;
  if (processor.do_resize && processor.max_num_patches == 0 && !is_pair(size) && size.shortest_edge == 0 &&
      size.max_height == 0) {
    detail::failure(kLoad, "\"do_resize\" wants a \"size\"");
  }
  if (processor.do_center_crop && !is_pair(processor.crop_size)) {
    detail::failure(kLoad, "\"do_center_crop\" wants a \"crop_size\" of height and width");
  }
  if (processor.do_pad && !is_pair(processor.pad_size)) {
    detail::failure(kLoad, "\"do_pad\" wants a \"pad_size\" of height and width");
  }
  if (!std::isfinite(processor.rescale_factor)) {
    detail::failure(kLoad, "\"rescale_factor\" is ", processor.rescale_factor, ", wanted a finite number");
  }
  for (std::size_t c = 0; processor.do_normalize && c < 3; ++c) {
    if (!std::isfinite(processor.image_mean[c]))
      detail::failure(kLoad, "\"image_mean\" has a value that is not finite");
    if (!(processor.image_std[c] > 0 && std::isfinite(processor.image_std[c]))) {
      detail::failure(kLoad, "\"image_std\" has ", processor.image_std[c], ", wanted above 0");
    }
  }
}

/// What the file says, and where it says nothing the class.
ImageProcessor read_processor(const detail::Json& json, const Type& type) {
  ImageProcessor processor;
  processor.image_processor_type = type.name;
  const bool to_square = read_switch(json, "default_to_square", type.default_to_square);
  processor.do_resize = read_switch(json, "do_resize", type.resizes);
  processor.size = read_image_size(json, "size", type.size, to_square);
  processor.resample = processor.do_resize ? read_filter(json, type.resample) : type.resample;
  processor.do_center_crop = read_switch(json, "do_center_crop", type.do_center_crop);
  processor.crop_size = read_image_size(json, "crop_size", type.crop_size, true);
  processor.do_rescale = read_switch(json, "do_rescale", type.resizes);
  if (processor.do_rescale && json.contains("rescale_factor")) {
    processor.rescale_factor = detail::get<double>(kLoad, json, "rescale_factor");
  }
  processor.do_normalize = read_switch(json, "do_normalize", type.resizes);
  if (processor.do_normalize) {
    processor.image_mean = read_channels(json, "image_mean", type.mean);
    processor.image_std = read_channels(json, "image_std", type.std);
  }
  processor.do_pad = read_switch(json, "do_pad", false);
  processor.pad_size = read_image_size(json, "pad_size", {}, true);
  if (type.max_num_patches != 0) {  // its size follows from the patches; it neither crops nor pads pixels
    processor.patch_size = static_cast<int>(detail::read_size(kLoad, json, "patch_size", 256, type.patch_size));
    processor.max_num_patches =
        static_cast<int>(detail::read_size(kLoad, json, "max_num_patches", 16'384, type.max_num_patches));
    processor.do_center_crop = processor.do_pad = false;
  }
  check(processor);
  return processor;
}

/// A side may become so long that resize refuses it, with its sentence.
int to_int(double pixels) { return static_cast<int>(std::min(pixels, 2e9)); }

/// transformers' get_size_with_aspect_ratio: {height, width}
std::array<int, 2> within_edges(int height, int width, int shortest, int longest) {
  const double low = std::min(height, width), high = std::max(height, width);
  double raw = shortest;
  if (high / low * shortest > longest) raw = longest * low / high;
  const int side = to_int(std::nearbyint(raw));  // half to even, as Python rounds
  if ((height <= width && height == side) || (width <= height && width == side)) return {height, width};
  if (width < height) return {to_int(raw * height / width), side};
  return {side, to_int(raw * width / height)};
}

/// Siglip2ImageProcessor's get_image_size_for_max_num_patches: {height, width}
std::array<int, 2> within_patches(int height, int width, int patch, int most) {
  const auto scaled = [patch](double scale, int side) {
    return std::max(1.0, std::ceil(side * scale / patch)) * patch;
  };
  constexpr double kEps = 1e-5;
  double low = kEps / 10, high = 100.0;
  while (high - low >= kEps) {
    const double middle = (low + high) / 2;
    const bool fits = scaled(middle, height) / patch * (scaled(middle, width) / patch) <= most;
    (fits ? low : high) = middle;
  }
  return {to_int(scaled(low, height)), to_int(scaled(low, width))};
}

/// {height, width} that a picture is resized to.
std::array<int, 2> resized(const ImageProcessor& processor, int height, int width) {
  const ImageSize& size = processor.size;
  if (processor.max_num_patches != 0) {
    return within_patches(height, width, processor.patch_size, processor.max_num_patches);
  }
  if (size.longest_edge != 0) return within_edges(height, width, size.shortest_edge, size.longest_edge);
  if (size.shortest_edge != 0) {
    const double longer = std::max(height, width), shorter = std::min(height, width);
    const int side = to_int(size.shortest_edge * longer / shorter);
    return width <= height ? std::array<int, 2>{side, size.shortest_edge}
                           : std::array<int, 2>{size.shortest_edge, side};
  }
  if (size.max_height != 0) {
    const double scale =
        std::min(static_cast<double>(size.max_height) / height, static_cast<double>(size.max_width) / width);
    return {to_int(height * scale), to_int(width * scale)};
  }
  return {size.height, size.width};
}

/// Where the middle of a picture lies; beyond its edges if that is larger.
Rectangle middle(int picture_width, int picture_height, int width, int height, bool even_offsets) {
  const auto offset = [&](int outer, int inner) {
    const double half = (static_cast<double>(outer) - inner) / 2;
    return static_cast<int>(even_offsets ? std::nearbyint(half) : std::floor(half));
  };
  return {offset(picture_width, width), offset(picture_height, height), width, height};
}

/// A part of a picture, black where it lies beyond the edges.
Image on_black(const Image& image, const Rectangle& part) {
  const auto [left, top, width, height] = part;
  const auto bytes = [](int columns, int rows) {
    return static_cast<std::ptrdiff_t>(columns) * static_cast<std::ptrdiff_t>(rows) * 3;
  };
  Image result{width, height, {}};
  result.pixels.resize(static_cast<std::size_t>(bytes(width, height)));
  const int first = std::max(left, 0), columns = std::min(left + width, image.width) - first;
  for (int y = std::max(top, 0); y < std::min(top + height, image.height); ++y) {
    const auto row = image.pixels.begin() + bytes(image.width, y) + bytes(first, 1);
    std::copy(row, row + bytes(columns, 1), result.pixels.begin() + bytes(width, y - top) + bytes(first - left, 1));
  }
  return result;
}

/// What of a picture is worked out: the crop, or all of it where that sticks out.
Resizing resizing(const ImageProcessor& processor, int width, int height) {
  Resizing to{width, height, processor.resample, {}};
  if (processor.do_resize) {
    const auto [down, across] = resized(processor, height, width);
    to.width = across, to.height = down;
  }
  to.part = {0, 0, to.width, to.height};
  const ImageSize& crop = processor.crop_size;
  if (processor.do_center_crop && crop.width <= to.width && crop.height <= to.height) {
    to.part = middle(to.width, to.height, crop.width, crop.height, processor.even_offsets);
  }
  return to;
}

/// What is made of it, with the crop that stuck out.
Image framed(const ImageProcessor& processor, Image image) {
  const ImageSize& crop = processor.crop_size;
  if (!processor.do_center_crop || (image.width == crop.width && image.height == crop.height)) return image;
  return on_black(image, middle(image.width, image.height, crop.width, crop.height, processor.even_offsets));
}

/// What each of the 256 values of a byte becomes, channel by channel: one division each.
using Tables = std::array<std::array<float, 256>, 3>;

template <typename Scale>
Tables tabulate(Scale&& scale) {
  Tables tables{};
  for (std::size_t channel = 0; channel < tables.size(); ++channel) {
    for (int value = 0; value < 256; ++value) {
      tables[channel][static_cast<std::size_t>(value)] = scale(value, channel);
    }
  }
  return tables;
}

Tensor look_up(const Image& image, const Tables& tables) {
  Tensor tensor = torch::empty({3, image.height, image.width});
  float* out = tensor.mutable_data_ptr<float>();
  const std::size_t plane = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t i = 0; i < plane; ++i) *out++ = tables[channel][image.pixels[i * 3 + channel]];
  }
  return tensor;
}

/// Bytes to numbers, padded.
Tensor scaled(const ImageProcessor& processor, const Image& bytes) {
  // the reference multiplies in double precision and normalises in single
  const Tensor pixels =
      look_up(bytes, tabulate([&](int value, std::size_t channel) {
                const float x = processor.do_rescale ? static_cast<float>(value * processor.rescale_factor)
                                                     : static_cast<float>(value);
                return processor.do_normalize ? (x - processor.image_mean[channel]) / processor.image_std[channel] : x;
              }));
  if (!processor.do_pad) return pixels;
  const ImageSize& pad = processor.pad_size;
  if (bytes.height > pad.height || bytes.width > pad.width) {
    detail::bad_argument(kPreprocess, "a picture of ", bytes.width, " x ", bytes.height,
                         " pixels after resizing does not fit into the padding of ", pad.width, " x ", pad.height);
  }
  return torch::constant_pad_nd(pixels, {0, pad.width - bytes.width, 0, pad.height - bytes.height});
}

}  // namespace

std::string_view to_string(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::nearest:
      return "nearest";
    case ResizeFilter::box:
      return "box";
    case ResizeFilter::bilinear:
      return "bilinear";
    case ResizeFilter::hamming:
      return "hamming";
    case ResizeFilter::bicubic:
      return "bicubic";
    case ResizeFilter::lanczos:
      return "lanczos";
  }
  return "unknown";
}

ResizeFilter resize_filter(std::string_view name) {
  std::string known;
  for (const ResizeFilter filter : kFilters) {
    if (name == to_string(filter)) return filter;
    known += (known.empty() ? "" : ", ") + std::string(to_string(filter));
  }
  detail::failure("resize_filter", "unknown filter ", detail::shown(name), ", known are ", known);
}

std::string to_string(const std::array<float, 3>& values) {
  std::ostringstream out;
  out << '(' << values[0] << ", " << values[1] << ", " << values[2] << ')';
  return out.str();
}

Tensor to_tensor(const Image& image, const std::array<float, 3>& mean, const std::array<float, 3>& std) {
  return look_up(image, tabulate([&](int value, std::size_t channel) {
                   return (static_cast<float>(value) / 255.0f - mean[channel]) / std[channel];
                 }));
}

int resized_side(int size, double crop_pct) { return static_cast<int>(std::floor(size / crop_pct)); }

Resizing resize_crop(int width, int height, int size, double crop_pct, ResizeFilter filter) {
  // torchvision.Resize(int): the long side is cut to an integer; CenterCrop: the offset is rounded half to even
  const int target = resized_side(size, crop_pct);
  const int shorter = std::min(width, height), longer = std::max(width, height);
  if (shorter < 1 || longer / shorter > kMaxAspect) {
    detail::bad_argument(kPreprocess, "a picture of ", width, " x ", height, " pixels, wanted at most ", kMaxAspect,
                         " : 1");
  }
  const int scaled = static_cast<int>(static_cast<std::int64_t>(target) * longer / shorter);
  const int across = width > height ? scaled : target, down = width > height ? target : scaled;
  return {across, down, filter, middle(across, down, size, size, true)};
}

ImageProcessor ImageProcessor::load(const std::filesystem::path& directory, std::string_view fallback) {
  const detail::Json json = detail::read_preprocessor(kLoad, directory, "image_processor");
  if (!json.is_object()) detail::failure(kLoad, "the image processor of ", directory, " is not a JSON object");
  const std::string name = read_type(json, fallback);
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const Type& t) { return name == t.name; });
  if (type == kTypes.end()) {
    std::string known;
    for (const Type& t : kTypes) known += (known.empty() ? "" : ", ") + std::string(t.name);
    detail::failure(kLoad, "\"image_processor_type\" is ", detail::shown(name), ", known are ", known);
  }
  return read_processor(json, *type);
}

ImageProcessor ImageProcessor::load_timm(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kLoad, config_json);
  // older files have the transform beside the architecture
  const detail::Json cfg = detail::get_or(kLoad, json, "pretrained_cfg", json);
  const auto size = detail::get_or<std::vector<int>>(kLoad, cfg, "input_size", {3, 224, 224});
  if (size.size() != 3 || size[0] != 3 || std::min(size[1], size[2]) < 1 || std::max(size[1], size[2]) > kMaxSide) {
    detail::failure(kLoad, "\"input_size\" is ", cfg.at("input_size").dump(), ", wanted [3, height, width] of 1 to ",
                    kMaxSide);
  }
  const double crop_pct = detail::get_or(kLoad, cfg, "crop_pct", 0.875);
  if (!(crop_pct > 0.1 && crop_pct <= 1.0)) {
    detail::failure(kLoad, "\"crop_pct\" is ", crop_pct, ", wanted above 0.1 and at most 1");
  }
  const ImageSize whole{.height = static_cast<int>(std::floor(size[1] / crop_pct)),
                        .width = static_cast<int>(std::floor(size[2] / crop_pct))};
  const auto mode = detail::get_or<std::string>(kLoad, cfg, "crop_mode", "center");
  if (mode != "squash" && (mode != "center" || size[1] != size[2])) {
    detail::failure(kLoad, "\"crop_mode\" is ", detail::shown(mode),
                    ", known are squash, and center for a square \"input_size\"");
  }
  ImageProcessor processor{
      .image_processor_type = "timm",
      .size = mode == "squash" ? whole : ImageSize{.shortest_edge = whole.height},
      .resample = resize_filter(detail::get_or<std::string>(kLoad, cfg, "interpolation", "bicubic")),
      .do_center_crop = true,
      .crop_size = {.height = size[1], .width = size[2]},
      .image_mean = read_channels(cfg, "mean", kImageNetMean),
      .image_std = read_channels(cfg, "std", kImageNetStd),
      .pad_size = {},
      .even_offsets = true};
  check(processor);
  return processor;
}

ImageProcessor ImageProcessor::load_open_clip(const std::filesystem::path& open_clip_config_json) {
  const detail::Json json = detail::read_json(kLoad, open_clip_config_json);
  const auto part = [](const detail::Json& object, const char* key) {
    return detail::get_or(kLoad, object, key, detail::Json::object());
  };
  const detail::Json cfg = part(json, "preprocess_cfg");
  const ImageSize size = read_image_size(part(part(json, "model_cfg"), "vision_cfg"), "image_size", square(224), true);
  const auto mode = detail::get_or<std::string>(kLoad, cfg, "resize_mode", "shortest");
  if (mode != "squash" && (mode != "shortest" || size.height != size.width)) {
    detail::failure(kLoad, "\"resize_mode\" is ", detail::shown(mode),
                    ", known are squash, and shortest for a square \"image_size\"");
  }
  const auto filter = resize_filter(detail::get_or<std::string>(kLoad, cfg, "interpolation", "bicubic"));
  if (filter != ResizeFilter::bicubic && filter != ResizeFilter::bilinear) {
    detail::failure(kLoad, "\"interpolation\" is ", to_string(filter), ", known are bicubic and bilinear");
  }
  ImageProcessor processor{.image_processor_type = "open_clip",
                           .size = mode == "squash" ? size : ImageSize{.shortest_edge = size.height},
                           .resample = filter,
                           .do_center_crop = mode == "shortest",
                           .crop_size = size,
                           .image_mean = read_channels(cfg, "mean", kClipMean),
                           .image_std = read_channels(cfg, "std", kClipStd),
                           .pad_size = {},
                           .even_offsets = true};
  check(processor);
  return processor;
}

Image ImageProcessor::resize_and_crop(const Image& image) const {
  if (!detail::has_its_pixels(image)) {
    detail::bad_argument(kPreprocess, "a picture of ", image.width, " x ", image.height,
                         " pixels must have three bytes for each, got ", image.pixels.size());
  }
  return framed(*this, resize(image, resizing(*this, image.width, image.height)));
}

Tensor ImageProcessor::operator()(const Image& image) const { return scaled(*this, resize_and_crop(image)); }

Tensor ImageProcessor::operator()(std::span<const std::byte> file, const ImageOptions& options) const {
  const auto to = [this](int width, int height) { return resizing(*this, width, height); };
  return scaled(*this, framed(*this, decode_image(file, options, to)));
}

std::optional<std::array<int, 2>> ImageProcessor::output_size() const {
  if (do_pad) return std::array<int, 2>{pad_size.height, pad_size.width};
  if (do_center_crop) return std::array<int, 2>{crop_size.height, crop_size.width};
  if (do_resize && max_num_patches == 0 && size.height != 0) return std::array<int, 2>{size.height, size.width};
  return std::nullopt;
}

std::int64_t ImageProcessor::draft_side() const {
  if (!do_resize || max_num_patches != 0) return 0;
  if (size.shortest_edge != 0) return size.shortest_edge;
  return size.max_height != 0 ? std::max(size.max_height, size.max_width) : std::max(size.height, size.width);
}

Description ImageProcessor::describe() const {
  std::ostringstream input, scaling;
  if (!do_resize) {
    input << "not resized";
  } else if (max_num_patches != 0) {
    input << "sides to multiples of " << patch_size << " px, at most " << max_num_patches << " patches";
  } else if (size.shortest_edge != 0) {
    input << "short side to " << size.shortest_edge << " px";
    if (size.longest_edge != 0) input << ", long side at most " << size.longest_edge << " px";
  } else if (size.max_height != 0) {
    input << "to fit into " << size.max_width << " x " << size.max_height;
  } else {
    input << "to " << size.width << " x " << size.height << " whatever the shape";
  }
  if (do_resize) input << ", " << to_string(resample) << " (Pillow)";
  if (do_center_crop) input << ", centre crop " << crop_size.width << " x " << crop_size.height << ", black outside";
  if (do_pad) input << ", padded right and below to " << pad_size.width << " x " << pad_size.height;
  const std::string x = do_rescale ? "x * " + std::to_string(rescale_factor) : "x";
  scaling << (do_normalize ? "(" + x + " - mean) / std, mean " + to_string(image_mean) + ", std " + to_string(image_std)
                           : x);
  return {{"processor", image_processor_type}, {"input", input.str()}, {"scaling", scaling.str()}};
}

namespace detail {

VideoProcessor read_video_processor(const std::filesystem::path& directory) {
  constexpr std::int64_t kMostFrames = 4'096;
  const Json json = read_part_or_file(kLoad, directory, "video_processor", "video_preprocessor_config.json");
  if (!json.is_object()) failure(kLoad, "the video processor of ", directory, " is not a JSON object");
  if (const auto name = get_or<std::string>(kLoad, json, "video_processor_type", kPeVideo.name);
      name != kPeVideo.name) {
    failure(kLoad, "\"video_processor_type\" is ", shown(name), ", known is ", kPeVideo.name);
  }
  VideoProcessor processor{.frame = read_processor(json, kPeVideo)};
  if (!read_switch(json, "do_sample_frames", false)) return processor;
  const auto says = [&](const char* key) { return json.contains(key) && !json.at(key).is_null(); };
  if (says("num_frames")) {
    processor.num_frames = read_size(kLoad, json, "num_frames", kMostFrames);
    if (processor.num_frames == 1)
      failure(kLoad, "\"num_frames\" is 1, wanted 2 or more: the first and the last are used");
  } else if (says("fps")) {
    processor.fps = get<double>(kLoad, json, "fps");
    if (!(processor.fps > 0 && processor.fps <= 1'000))
      failure(kLoad, "\"fps\" is ", processor.fps, ", wanted above 0, at most 1000");
  }
  return processor;
}

std::vector<std::int64_t> VideoProcessor::choose(std::int64_t count, double seconds) const {
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < num_frames; ++i) {  // in floating point, as the reference does
    chosen.push_back(
        static_cast<std::int64_t>(static_cast<double>(i * (count - 1)) / static_cast<double>(num_frames - 1)));
  }
  if (num_frames > 0) return chosen;
  const double wanted = fps > 0 && seconds > 0 ? std::max(1.0, std::floor(seconds * fps)) : static_cast<double>(count);
  const double step = std::max(1.0, static_cast<double>(count) / wanted);
  const Tensor places = torch::arange(0, count, step, torch::kFloat32);  // the reference's rounding
  for (const float place : std::span(places.const_data_ptr<float>(), static_cast<std::size_t>(places.numel()))) {
    chosen.push_back(std::min(static_cast<std::int64_t>(place), count - 1));
  }
  return chosen;
}

}  // namespace detail

}  // namespace trine
