#include "encoders/videos.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include "detail/error.h"
#include "trine/input/video.h"

namespace trine::detail {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr std::int64_t kMostPixels = 1 << 26;  // of the frames that wait

/// Frames one by one to some at a time.
class Batches {
 public:
  Batches(std::int64_t size, const TakeFrames& take) : size_(static_cast<std::size_t>(size)), take_(take) {}

  void add(Image frame) {
    pixels_ += static_cast<std::int64_t>(frame.pixels.size()) / 3;
    waiting_.emplace_back(std::move(frame));
    ++count_;
    if (waiting_.size() == size_ || pixels_ >= kMostPixels) flush();
  }

  /// -> how many came in all
  std::int64_t flush() {
    if (!waiting_.empty()) take_(waiting_);
    waiting_.clear();
    pixels_ = 0;
    return count_;
  }

 private:
  std::size_t size_;
  const TakeFrames& take_;
  std::vector<ImageInput> waiting_;
  std::int64_t pixels_ = 0, count_ = 0;
};

void check(const char* who, const VideoEmbedOptions& options) {
  if (options.batch_size < 1) bad_argument(who, "batch_size must be at least 1, it is ", options.batch_size);
  if (options.frames < 0) bad_argument(who, "frames must not be below 0, it is ", options.frames);
  if (!(options.frames_per_second >= 0 && options.frames_per_second <= 1000)) {
    bad_argument(who, "frames_per_second is ", options.frames_per_second,
                 ", wanted above 0, at most 1000, or 0 for the model's own choice");
  }
}

/// Numbers in their order without those that come again, and the place of each among the rest.
std::pair<std::vector<std::int64_t>, Tensor> without_repeats(std::vector<std::int64_t> chosen) {
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    places.push_back(i == 0 ? 0 : places.back() + (chosen[i] != chosen[i - 1] ? 1 : 0));
  }
  const auto rest = std::ranges::unique(chosen);
  chosen.erase(rest.begin(), rest.end());
  return {std::move(chosen), torch::tensor(places)};
}

Tensor take_from_file(const VideoInput& video, const VideoEmbedOptions& options, const VideoEncoder* chooser,
                      Batches& batches) {
  Tensor places;
  VideoOptions reading{.frames = options.frames, .sound = false, .subtitles = false};
  if (options.frames_per_second > 0) reading.frames_per_second = options.frames_per_second;
  if (chooser != nullptr) reading.max_frames = chooser->max_frames();
  if (chooser != nullptr && options.frames == 0 && options.frames_per_second == 0) {
    reading.choose = [&](std::int64_t count, double seconds) {
      auto [once, all] = without_repeats(chooser->choose(count, seconds));
      places = std::move(all);
      return std::move(once);
    };
  }
  const TakeFrame add = [&](VideoFrame frame) { batches.add(std::move(frame.image)); };
  if (const auto* path = std::get_if<fs::path>(&video)) {
    read_video(*path, reading, add);
  } else {
    decode_video(std::get<std::vector<std::byte>>(video), reading, add);
  }
  const std::int64_t count = batches.flush();
  return places.defined() ? places : torch::arange(count);
}

/// `frame(i)` is the i-th of `count`.
Tensor take_from_frames(const char* who, std::int64_t count, const std::function<Image(std::int64_t)>& frame,
                        const VideoEncoder* chooser, Batches& batches) {
  if (count == 0) bad_argument(who, "the video has no frames");
  if (chooser != nullptr && count > chooser->max_frames()) {
    bad_argument(who, "the video has ", count, " frames, wanted 1 to ", chooser->max_frames());
  }
  Tensor places = torch::arange(count);
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) numbers[static_cast<std::size_t>(i)] = i;
  if (chooser != nullptr) std::tie(numbers, places) = without_repeats(chooser->choose(count, /*seconds=*/0));
  for (const std::int64_t number : numbers) batches.add(frame(number));
  batches.flush();
  return places;
}

}  // namespace

Tensor take_frames(const char* who, const VideoInput& video, const VideoEmbedOptions& options,
                   const VideoEncoder* chooser, const TakeFrames& take) {
  check(who, options);
  Batches batches(options.batch_size, take);
  if (const auto* images = std::get_if<std::vector<Image>>(&video)) {
    const auto image = [&](std::int64_t i) { return (*images)[static_cast<std::size_t>(i)]; };
    return take_from_frames(who, std::ssize(*images), image, chooser, batches);
  }
  const auto* tensor = std::get_if<Tensor>(&video);
  if (tensor == nullptr) return take_from_file(video, options, chooser, batches);
  if (!tensor->defined() || tensor->dim() != 4 || tensor->size(3) != 3 || tensor->scalar_type() != torch::kUInt8) {
    bad_argument(who, "frames are (T, H, W, 3) of Byte, got ",
                 tensor->defined() ? c10::str(tensor->sizes(), " of ", tensor->scalar_type()) : "nothing");
  }
  const auto image = [&](std::int64_t i) {
    const Tensor frame = (*tensor)[i].to(torch::kCPU).contiguous();
    const auto* begin = frame.const_data_ptr<std::uint8_t>();
    return Image{static_cast<int>(frame.size(1)), static_cast<int>(frame.size(0)), {begin, begin + frame.numel()}};
  };
  return take_from_frames(who, tensor->size(0), image, chooser, batches);
}

}  // namespace trine::detail
