#include "trine/input/image.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

#include "detail/json.h"
#include "trine/input/encode_image.h"

namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using namespace std::string_view_literals;
using trine::Image;
using trine::ImageOptions;
using trine::ResizeFilter;
using trine::Resizing;
using trine::detail::Json;
using FileBytes = std::vector<std::byte>;

const fs::path kGolden = fs::path(TRINE_TEST_DATA) / "golden/image";

FileBytes bytes_of(std::string_view text) {
  FileBytes bytes(text.size());
  std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

FileBytes load(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return bytes_of(std::string{std::istreambuf_iterator<char>(in), {}});
}

FileBytes golden_file(const std::string& name) { return load(kGolden / name); }

/// What the generator wrote: cases, and the pixels they point to.
struct Golden {
  Json cases = trine::detail::read_json("image_test", kGolden / "cases.json");
  FileBytes pixels = load(kGolden / "pixels.bin");

  Image image(const Json& entry, const std::string& prefix = "") const {
    Image image{entry.at(prefix + "width"), entry.at(prefix + "height"), {}};
    const auto* begin =
        reinterpret_cast<const std::uint8_t*>(pixels.data()) + entry.at(prefix + "pixels").get<std::size_t>();
    image.pixels.assign(begin, begin + static_cast<std::ptrdiff_t>(image.width) * image.height * 3);
    return image;
  }
};

const Golden& golden() {
  static const Golden golden;
  return golden;
}

/// "" if equal, else what differs.
std::string difference(const Image& got, const Image& wanted) {
  if (got.width != wanted.width || got.height != wanted.height) {
    return "size " + std::to_string(got.width) + " x " + std::to_string(got.height);
  }
  if (got.pixels.size() != wanted.pixels.size()) return "number of bytes";
  int greatest = 0;
  for (std::size_t i = 0; i < got.pixels.size(); ++i)
    greatest = std::max(greatest, std::abs(got.pixels[i] - wanted.pixels[i]));
  return greatest == 0 ? "" : "up to " + std::to_string(greatest) + " levels";
}

Resizing halved(int width, int height) {
  width = width / 2 + 1, height = height / 2 + 1;
  return {width, height, ResizeFilter::bicubic, {0, 0, width, height}};
}

/// The message of the std::runtime_error that `decode` must throw.
template <typename Decode>
std::string message_of(const Decode& decode) {
  try {
    decode();
  } catch (const std::runtime_error& error) {
    EXPECT_TRUE(std::string_view(error.what()).starts_with("[decode_image] ")) << error.what();
    return error.what();
  }
  return "accepted";
}

/// The message that `file` must cause, whether it is resized while it is decoded or not.
std::string refusal(const FileBytes& file, const ImageOptions& options = {}) {
  const std::string message = message_of([&] { trine::decode_image(file, options); });
  EXPECT_EQ(message_of([&] { trine::decode_image(file, options, halved); }), message);
  return message;
}

void expect_refusal(const FileBytes& file, std::string_view part, const ImageOptions& options = {}) {
  EXPECT_NE(refusal(file, options).find(part), std::string::npos) << refusal(file, options) << "\nwanted: " << part;
}

void put(FileBytes& file, std::size_t offset, std::string_view text) {
  const FileBytes bytes = bytes_of(text);
  ASSERT_LE(offset + bytes.size(), file.size());
  std::copy(bytes.begin(), bytes.end(), file.begin() + static_cast<std::ptrdiff_t>(offset));
}

std::string big_endian(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 0xFF);
  return text;
}

std::string chunk(const std::string& type, const std::string& body) {
  const std::string typed = type + body;
  const auto sum = crc32_z(0, reinterpret_cast<const Bytef*>(typed.data()), typed.size());
  return big_endian(static_cast<std::uint32_t>(body.size())) + typed + big_endian(static_cast<std::uint32_t>(sum));
}

std::string deflated(const std::string& data) {
  uLongf size = compressBound(static_cast<uLong>(data.size()));
  std::string out(size, '\0');
  compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(data.data()),
            static_cast<uLong>(data.size()), 9);
  out.resize(size);
  return out;
}

const std::string kPngSignature = "\x89PNG\r\n\x1a\n";

std::string png_header(std::uint32_t width, std::uint32_t height, char depth, char colour) {
  return chunk("IHDR", big_endian(width) + big_endian(height) + std::string{depth, colour, 0, 0, 0});
}

FileBytes png(const std::string& chunks) { return bytes_of(kPngSignature + chunks); }

/// A grey PNG whose header promises `height` rows of two pixels, and which has three.
FileBytes three_row_png(std::uint32_t height, const std::string& before_data = "", char filter = 0) {
  const std::string row = std::string{filter, 10, 20};
  return png(png_header(2, height, 8, 0) + before_data + chunk("IDAT", deflated(row + row + row)) + chunk("IEND", ""));
}

Image flat(int width, int height, std::uint8_t value) {
  return {width, height,
          std::vector<std::uint8_t>(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, value)};
}

TEST(DecodeImage, EqualsPillow) {
  testing::internal::CaptureStderr();
  for (const Json& entry : golden().cases.at("decode")) {
    const ImageOptions options{.apply_exif_orientation = entry.at("exif")};
    const std::string name = entry.at("file");
    EXPECT_EQ(difference(trine::decode_image(golden_file(name), options), golden().image(entry)), "") << name;
    EXPECT_EQ(difference(trine::read_image(kGolden / name, options), golden().image(entry)), "") << name;
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "a decoder printed something";
}

TEST(DecodeImage, IgnoresWhatFollowsThePicture) {
  for (const char* name : {"420_baseline.jpg", "rgb.png", "lossy.webp", "colours.gif", "rgb.bmp", "rgb_lzw.tif"}) {
    FileBytes file = golden_file(name);
    const Image image = trine::decode_image(file);
    file.resize(file.size() + 1000);
    EXPECT_EQ(difference(trine::decode_image(file), image), "") << name;
  }
}

TEST(DecodeImage, RefusesOtherFormatsByTheirFirstBytes) {
  const std::map<std::string, std::string> others{
      {"text", "a picture of a bicycle, told in words and nothing else"},
      {"wave", "RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0"s.append(40, '\0')},
      {"OpenEXR", "\x76\x2f\x31\x01\2\0\0\0channels"s.append(40, '\0')},
      {"Radiance", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n0000"},
      {"JPEG 2000", "\0\0\0\x0CjP  \r\n\x87\n"s.append(40, '\0')},
      {"JPEG 2000 stream", "\xFF\x4F\xFF\x51"s.append(40, '\0')},
      {"DICOM", std::string(128, '\0') + "DICM" + std::string(40, '\0')},
      {"Sun raster", "\x59\xa6\x6a\x95"s.append(40, '\0')},
      {"PPM", "P6\n1 1\n255\nabc"},
      {"PAM", "P7\nWIDTH 1\n"},
      {"NITF", "NITF02.10"s.append(400, ' ')},
      {"icon", "\0\0\1\0\1\0\x10\x10"s.append(40, '\0')},
      {"BigTIFF", "II\x2B\0\x08\0\0\0\x10\0\0\0"s.append(40, '\0')},
      {"AVIF", "\0\0\0\x1C"s + "ftypavif" + std::string(40, '\0')},
      {"SVG", "<svg xmlns='http://www.w3.org/2000/svg'/>"},
      {"zeros", std::string(100, '\0')},
  };
  for (const auto& [name, content] : others) {
    SCOPED_TRACE(name);
    expect_refusal(bytes_of(content), "not a picture in an accepted format");
  }
  expect_refusal({}, "empty");
}

TEST(DecodeImage, EveryTruncationIsAnErrorOrTheSamePicture) {
  for (const Json& entry : golden().cases.at("decode")) {
    const std::string name = entry.at("file");
    const FileBytes file = golden_file(name);
    const Image whole = trine::decode_image(file);
    const std::size_t step = std::max<std::size_t>(1, file.size() / 400);
    for (std::size_t size = 0; size<file.size(); size += size + 64> file.size() || size < 256 ? 1 : step) {
      try {
        const Image part = trine::decode_image(std::span(file).first(size));
        ASSERT_EQ(difference(part, whole), "") << name << " cut to " << size << " of " << file.size();
      } catch (const std::runtime_error&) {
      }
    }
    const auto quarter = file.begin() + static_cast<std::ptrdiff_t>(file.size() / 4);
    EXPECT_NE(refusal({file.begin(), quarter}), "accepted") << name;
  }
}

TEST(DecodeImage, ChangedBytesGiveAnErrorOrAWholePicture) {
  std::mt19937 random(7);
  const ImageOptions options{.max_pixels = 1'000'000, .apply_exif_orientation = true};
  for (const Json& entry : golden().cases.at("decode")) {
    const FileBytes file = golden_file(entry.at("file"));
    for (int round = 0; round < 40; ++round) {
      FileBytes changed = file;
      const std::size_t reach = round % 2 == 0 ? file.size() : std::min<std::size_t>(file.size(), 64);
      for (int i = 0; i <= round % 4; ++i) changed[random() % reach] = static_cast<std::byte>(random() & 0xFF);
      try {
        const Image image = trine::decode_image(changed, options);
        ASSERT_GT(image.width, 0);
        ASSERT_GT(image.height, 0);
        ASSERT_EQ(image.pixels.size(),
                  static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3);
      } catch (const std::runtime_error& error) {
        ASSERT_TRUE(std::string_view(error.what()).starts_with("[decode_image] ")) << error.what();
      }
    }
  }
}

TEST(DecodeImage, RefusesABombBeforeDecodingIt) {
  const std::uint32_t side = 30'000;  // 1 bit each: 112 MB of rows in 110 kB
  const std::string rows = deflated(std::string((side / 8 + 1) * std::size_t{side}, '\0'));
  const FileBytes bomb = png(png_header(side, side, 1, 0) + chunk("IDAT", rows) + chunk("IEND", ""));
  EXPECT_LT(bomb.size(), 120'000u);
  expect_refusal(bomb, "30000 x 30000 pixels: at most 89478485");
}

TEST(DecodeImage, EveryFormatKeepsThePixelLimit) {
  for (const Json& entry : golden().cases.at("decode")) {
    const std::string name = entry.at("file");
    const std::int64_t pixels = entry.at("width").get<std::int64_t>() * entry.at("height").get<std::int64_t>();
    EXPECT_NO_THROW(trine::decode_image(golden_file(name), {.max_pixels = pixels})) << name;
    expect_refusal(golden_file(name), "at most", {.max_pixels = pixels - 1});
  }
  expect_refusal(png(png_header(0x7FFFFFFF, 0x7FFFFFFF, 8, 6)), "2147483647 x 2147483647");
  expect_refusal(png(png_header(1'000'001, 1, 8, 0)), "1000001 x 1");
  expect_refusal(png(png_header(0, 5, 8, 0)), "must be positive");
  expect_refusal(golden_file("rgb.png"), "at most 100 are accepted", {.max_bytes = 100});
}

TEST(DecodeImage, RefusesHeadersThatLie) {
  EXPECT_EQ(trine::decode_image(three_row_png(3)).height, 3);
  expect_refusal(three_row_png(4), "fewer rows than its header promises");
  expect_refusal(three_row_png(2), "more rows than its header promises");

  struct Lie {
    std::string file, before, after;
  };
  const std::vector<Lie> lies{
      {"420_baseline.jpg", "\xFF\xC0\0\x11\x08\0\x17"s, "\xFF\xC0\0\x11\x08\0\x2E"s},
      {"444_progressive.jpg", "\xFF\xC2\0\x11\x08\0\x17"s, "\xFF\xC2\0\x11\x08\0\x2E"s},
      {"lossy_alpha.webp", "\x1C\0\0\x16\0\0"s, "\x1C\0\0\x17\0\0"s},
      {"lossy_alpha.webp", "\x1C\0\0\x16\0\0"s, "\0\0\0\0\0\0"s},
      {"animated.webp", "\x1C\0\0\x16\0\0"s, "\x1B\0\0\x16\0\0"s},
      {"colours.gif", ",\0\0\0\0\x1D\0\x17\0"s, ",\0\0\0\0\x1D\0\x40\0"s},
      {"rgb.bmp", "\x1D\0\0\0\x17\0\0\0"s, "\x1D\0\0\0\x18\0\0\0"s},
      {"rgb_deflate.tif", "\x01\x01\x03\0\x01\0\0\0\x17"s, "\x01\x01\x03\0\x01\0\0\0\x2E"s},
  };
  for (const Lie& lie : lies) {
    FileBytes file = golden_file(lie.file);
    const FileBytes before = bytes_of(lie.before);
    const auto found = std::search(file.begin(), file.end(), before.begin(), before.end());
    ASSERT_NE(found, file.end()) << lie.file;
    put(file, static_cast<std::size_t>(found - file.begin()), lie.after);
    EXPECT_NE(refusal(file), "accepted") << lie.file;
  }
}

TEST(DecodeImage, ChecksThePartsOfAPng) {
  expect_refusal(three_row_png(3, "", 5), "unknown filter 5");
  expect_refusal(three_row_png(3, png_header(2, 3, 8, 0)), "two headers");
  expect_refusal(three_row_png(3, chunk("ABCD", "x")), "unknown critical chunk");
  EXPECT_EQ(trine::decode_image(three_row_png(3, chunk("abCD", "x"))).width, 2);
  expect_refusal(png(png_header(2, 1, 8, 3) + chunk("IDAT", deflated("\0ab"s)) + chunk("IEND", "")),
                 "no valid palette");
  expect_refusal(png(png_header(2, 1, 3, 0)), "ends too early");
  expect_refusal(png(png_header(2, 1, 3, 0) + chunk("IEND", "")), "no such form exists");
  expect_refusal(png(png_header(2, 1, 8, 0) + chunk("IEND", "")), "damaged or cut off");
  FileBytes file = three_row_png(3);
  file[kPngSignature.size() + 8 + 13] ^= std::byte{1};
  expect_refusal(file, "wrong check sum");
}

TEST(DecodeImage, GrowingAPaletteWithPillowsBlack) {
  const std::string data = chunk("IDAT", deflated("\0\0\1\2\xFF"s)) + chunk("IEND", "");
  const Image image = trine::decode_image(png(png_header(4, 1, 8, 3) + chunk("PLTE", "abcdef") + data));
  EXPECT_EQ(image.pixels, (std::vector<std::uint8_t>{'a', 'b', 'c', 'd', 'e', 'f', 0, 0, 0, 0, 0, 0}));
}

TEST(DecodeImage, RefusesAJpegWithoutItsEndAndOneOfEndlessScans) {
  const FileBytes file = golden_file("420_progressive.jpg");
  expect_refusal({file.begin(), file.end() - 2}, "Premature end of JPEG file");

  const FileBytes scan_mark = bytes_of("\xFF\xDA");
  const FileBytes table_mark = bytes_of("\xFF\xC4");
  const auto scan = std::search(file.begin(), file.end(), scan_mark.begin(), scan_mark.end());
  const auto scan_end = std::search(scan, file.end(), table_mark.begin(), table_mark.end());
  FileBytes endless(file.begin(), scan_end);
  for (int i = 0; i < 600; ++i) endless.insert(endless.end(), scan, scan_end);
  endless.insert(endless.end(), scan_end, file.end());
  expect_refusal(endless, "more than 500 scans");
}

TEST(DecodeImage, SaysWhatItDoesNotRead) {
  FileBytes bmp = golden_file("bits_32.bmp");
  bmp[28] = std::byte{16};
  expect_refusal(bmp, "a BMP of 16 bits with compression 0 is not supported");
  FileBytes tiff = golden_file("rgb_lzw.tif");
  const FileBytes photometric = bytes_of("\x06\x01\x03\0\x01\0\0\0\x02"sv);
  const auto found = std::search(tiff.begin(), tiff.end(), photometric.begin(), photometric.end());
  ASSERT_NE(found, tiff.end());
  found[8] = std::byte{8};
  expect_refusal(tiff, "a TIFF with photometric interpretation 8, 3 samples of 8 bits");
}

TEST(DecodeImage, DraftsOfAJpegAreAsLargeAsAsked) {
  const FileBytes file = trine::encode_jpeg(flat(83, 66, 90));
  const auto size_of = [&](std::int64_t side) {
    const Image draft = trine::decode_image(file, {.draft_side = side});
    EXPECT_EQ(draft.pixels.size(), static_cast<std::size_t>(draft.width * draft.height) * 3);
    EXPECT_NEAR(draft.pixels[100], 90, 2);
    return std::pair(draft.width, draft.height);
  };
  EXPECT_EQ(size_of(-1), std::pair(83, 66));
  EXPECT_EQ(size_of(0), std::pair(83, 66));
  EXPECT_EQ(size_of(1), std::pair(11, 9));  // 83 / 8 and 66 / 8, rounded up
  EXPECT_EQ(size_of(8), std::pair(11, 9));
  EXPECT_EQ(size_of(9), std::pair(21, 17));
  EXPECT_EQ(size_of(16), std::pair(21, 17));
  EXPECT_EQ(size_of(17), std::pair(42, 33));
  EXPECT_EQ(size_of(33), std::pair(42, 33));
  EXPECT_EQ(size_of(34), std::pair(83, 66));
  EXPECT_EQ(size_of(1'000'000'000'000), std::pair(83, 66));
  expect_refusal(file, "at most 5477 pixels", {.max_pixels = 83 * 66 - 1, .draft_side = 8});
  expect_refusal({file.begin(), file.begin() + std::ssize(file) / 2}, "cannot be decoded", {.draft_side = 8});
  for (const char* name : {"rgb.png", "lossy.webp", "rgb.bmp", "colours.gif", "rgb_lzw.tif"}) {
    EXPECT_EQ(
        difference(trine::decode_image(golden_file(name), {.draft_side = 1}), trine::decode_image(golden_file(name))),
        "")
        << name;
  }
}

TEST(DecodeImage, ResizesWhileItDecodes) {
  std::mt19937 random(8);
  const auto below = [&](int limit) { return static_cast<int>(random() % static_cast<unsigned>(limit)); };
  const auto filters = {ResizeFilter::nearest, ResizeFilter::bilinear, ResizeFilter::bicubic, ResizeFilter::lanczos};
  for (const Json& entry : golden().cases.at("decode")) {
    const FileBytes file = golden_file(entry.at("file"));
    for (const ImageOptions& options :
         {ImageOptions{}, ImageOptions{.apply_exif_orientation = true}, ImageOptions{.draft_side = 9}}) {
      const Image whole = trine::decode_image(file, options);
      for (const auto& [width, height] : std::vector<std::pair<int, int>>{{whole.width, whole.height},
                                                                          {whole.width, 11},
                                                                          {13, whole.height},
                                                                          {whole.width / 2 + 1, whole.height / 2 + 1},
                                                                          {2 * whole.width, 2 * whole.height},
                                                                          {whole.width / 2 + 1, 1},
                                                                          {1, 90}}) {
        for (const ResizeFilter filter : filters) {
          const int left = below(width), top = below(height);
          const Resizing to{width, height, filter, {left, top, 1 + below(width - left), 1 + below(height - top)}};
          const auto as_asked = [&](int decoded_width, int decoded_height) {
            EXPECT_EQ(std::pair(decoded_width, decoded_height), std::pair(whole.width, whole.height));
            return to;
          };
          EXPECT_EQ(difference(trine::decode_image(file, options, as_asked), trine::resize(whole, to)), "")
              << entry.at("file") << " to " << width << " x " << height;
        }
      }
    }
  }
}

TEST(DecodeImage, RefusesWhatItCannotResizeTo) {
  for (const FileBytes& file : {trine::encode_jpeg(flat(40, 30, 90)), golden_file("rgb.png")}) {
    for (const Resizing& to : {Resizing{}, Resizing{20, 20, ResizeFilter::bicubic, {0, 0, 21, 20}},
                               Resizing{20, INT_MAX, ResizeFilter::bicubic, {0, 0, 20, 20}}}) {
      EXPECT_THROW(trine::decode_image(file, {}, [&](int, int) { return to; }), std::invalid_argument);
    }
  }
}

TEST(EncodeJpeg, GivesAFileThatIsReadBack) {
  const Image image = trine::decode_image(golden_file("rgb.png"));
  const Image back = trine::decode_image(trine::encode_jpeg(image, 100));
  ASSERT_EQ(back.width, image.width);
  ASSERT_EQ(back.height, image.height);
  EXPECT_LT(trine::encode_jpeg(image, 30).size(), trine::encode_jpeg(image, 95).size());
  const Image grey = trine::decode_image(trine::encode_jpeg(flat(40, 30, 77)));
  EXPECT_EQ(difference(grey, flat(40, 30, 77)), "");
  EXPECT_THROW(trine::encode_jpeg(image, 0), std::invalid_argument);
  EXPECT_THROW(trine::encode_jpeg(Image{5, 5, {}}), std::invalid_argument);
}

TEST(ReadImage, NamesTheFile) {
  EXPECT_THROW(trine::read_image(kGolden / "no such file.png"), std::system_error);
  EXPECT_THROW(trine::read_image(kGolden), std::runtime_error);
  EXPECT_THROW(trine::read_image(kGolden / "rgb.png", {.max_bytes = 10}), std::runtime_error);
  try {
    trine::read_image(kGolden / "cases.json");
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("[read_image] ")) << message;
    EXPECT_NE(message.find("cases.json"), std::string::npos) << message;
    EXPECT_EQ(message.find("[decode_image]"), std::string::npos) << message;
  }
}

TEST(Resize, EqualsPillow) {
  const std::map<std::string, ResizeFilter> filters{
      {"bilinear", ResizeFilter::bilinear}, {"bicubic", ResizeFilter::bicubic}, {"lanczos", ResizeFilter::lanczos}};
  for (const Json& entry : golden().cases.at("resize")) {
    const Image source = golden().image(entry, "source_");
    const Image wanted = golden().image(entry);
    const Image got = trine::resize(source, wanted.width, wanted.height, filters.at(entry.at("filter")));
    EXPECT_EQ(difference(got, wanted), "") << entry;
  }
}

TEST(Resize, KeepsPicturesOfOneColour) {
  for (const ResizeFilter filter : {ResizeFilter::nearest, ResizeFilter::box, ResizeFilter::bilinear,
                                    ResizeFilter::hamming, ResizeFilter::bicubic, ResizeFilter::lanczos}) {
    for (const auto& [width, height] : std::vector<std::pair<int, int>>{{20, 30}, {7, 5}, {61, 3}, {1, 99}, {13, 11}}) {
      for (const std::uint8_t value : std::array<std::uint8_t, 4>{0, 1, 128, 255}) {
        EXPECT_EQ(difference(trine::resize(flat(13, 11, value), width, height, filter), flat(width, height, value)),
                  "");
      }
    }
  }
}

TEST(Resize, RefusesWhatIsNoSizeOrNoPicture) {
  const Image image = flat(4, 3, 9);
  for (const auto& [width, height] :
       std::vector<std::pair<int, int>>{{0, 5}, {5, 0}, {-1, 5}, {10'000, 10'000}, {INT_MAX, INT_MAX}}) {
    EXPECT_THROW(trine::resize(image, width, height, ResizeFilter::bicubic), std::invalid_argument);
  }
  EXPECT_THROW(trine::resize(flat(1, 100'000, 9), 1'000, 100'001, ResizeFilter::bicubic), std::invalid_argument);
  EXPECT_THROW(trine::resize(Image{}, 5, 5, ResizeFilter::bicubic), std::invalid_argument);
  EXPECT_THROW(trine::resize(Image{4, 3, std::vector<std::uint8_t>(35)}, 5, 5, ResizeFilter::bicubic),
               std::invalid_argument);
  EXPECT_THROW(trine::resize(Image{-4, -3, std::vector<std::uint8_t>(36)}, 5, 5, ResizeFilter::bicubic),
               std::invalid_argument);
  EXPECT_THROW(trine::resize(image, 5, 5, static_cast<ResizeFilter>(9)), std::invalid_argument);
}

TEST(Crop, TakesTheRectangleAndNothingOutsideThePicture) {
  Image image = flat(5, 4, 0);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i);
  EXPECT_EQ(difference(trine::crop(image, 0, 0, 5, 4), image), "");
  EXPECT_EQ(trine::crop(image, 3, 2, 2, 1).pixels, (std::vector<std::uint8_t>{39, 40, 41, 42, 43, 44}));
  EXPECT_EQ(trine::crop(image, 4, 1, 1, 2).pixels, (std::vector<std::uint8_t>{27, 28, 29, 42, 43, 44}));
  for (const auto& [left, top, width, height] : std::vector<std::array<int, 4>>{{-1, 0, 2, 2},
                                                                                {0, -1, 2, 2},
                                                                                {0, 0, 6, 1},
                                                                                {0, 0, 1, 5},
                                                                                {4, 0, 2, 1},
                                                                                {0, 0, 0, 1},
                                                                                {1, 1, INT_MAX, 1},
                                                                                {INT_MAX, 0, 1, 1}}) {
    EXPECT_THROW(trine::crop(image, left, top, width, height), std::invalid_argument);
  }
}

}  // namespace
