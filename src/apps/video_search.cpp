#include "trine/apps/video_search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

#include "apps/everyday.h"
#include "detail/error.h"
#include "trine/layers.h"
#include "trine/search/query.h"

namespace trine {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr const char* kWho = "VideoSearch";
constexpr double kSound = 2;           // seconds around each time
constexpr std::int64_t kAround = 2;    // frames before and after each that make its context
constexpr std::int64_t kPiece = 16;    // frames of a video that go through the temporal model together
constexpr std::int64_t kNearest = 10;  // everyday things that are left out
constexpr float kTemperature = 0.05f;  // of cosines, where a model states none

/// Cosines become chances at the temperature that the model was calibrated or trained with.
float temperature_of(const Embedder& embedder, Modality modality) {
  try {
    return 1 / embedder.scoring(modality).scale;
  } catch (const std::invalid_argument&) {
    return kTemperature;
  }
}

/// What `query` is worth at each time beside the everyday things, those nearest to it left out: they mean the same.
/// vectors (T, D), query (D), everyday (N, D) -> (T) in [0, 1]; 0 for rows of zeros
Tensor worth(const Tensor& vectors, const Tensor& query, const Tensor& everyday, float temperature) {
  const Tensor others = everyday.index_select(0, everyday.matmul(query).argsort(-1, true).slice(0, kNearest));
  const Tensor texts = torch::cat({query.unsqueeze(0), others});
  const Tensor shares = (vectors.matmul(texts.t()) / temperature).softmax(1).select(1, 0);
  return shares * (vectors.norm(2, 1) > 0.5);
}

/// The part of `sound` around a time, with silence where there is none.
Audio around(const Audio& sound, double time, double width) {
  const auto count = static_cast<std::int64_t>(width * sound.sample_rate);
  const auto first = static_cast<std::int64_t>(std::llround((time - width / 2) * sound.sample_rate));
  Audio part{sound.sample_rate, std::vector<float>(static_cast<std::size_t>(count))};
  const std::int64_t begin = std::max<std::int64_t>(first, 0);
  const std::int64_t end = std::min(first + count, std::ssize(sound.samples));
  if (begin < end)
    std::copy(sound.samples.begin() + begin, sound.samples.begin() + end, part.samples.begin() + (begin - first));
  return part;
}

Tensor sound_vectors(const Embedder& embedder, const Audio& sound, const std::vector<double>& times, double width) {
  Tensor vectors = torch::zeros({std::ssize(times), embedder.dim()});
  for (std::size_t i = 0; i < times.size(); ++i) {
    const Audio part = around(sound, times[i], width);
    if (trim_and_level(part).samples.empty()) continue;  // silence
    vectors[static_cast<std::int64_t>(i)] = embedder.embed_audio(part);
  }
  return vectors;
}

std::vector<Subtitle> written_down(const Transcriber& transcriber, const Audio& sound) {
  std::vector<Subtitle> subtitles;
  for (const Transcript::Segment& segment : transcriber.transcribe(sound, {.timestamps = true}).segments) {
    if (!segment.text.empty()) subtitles.push_back({segment.start, segment.end, segment.text});
  }
  return subtitles;
}

Image thumbnail(const Image& image, int width) {
  const double scale = static_cast<double>(width) / image.width;
  return resize(image, width, std::clamp(static_cast<int>(std::lround(image.height * scale)), 1, 4 * width),
                ResizeFilter::box);
}

/// Which subtitles are on screen between `begin` and `end`. -> (S) bool
Tensor overlapping(const std::vector<Subtitle>& subtitles, double begin, double end) {
  Tensor on = torch::zeros({std::ssize(subtitles)}, torch::kBool);
  auto* out = on.data_ptr<bool>();
  for (std::size_t i = 0; i < subtitles.size(); ++i) out[i] = subtitles[i].start < end && subtitles[i].end > begin;
  return on;
}

}  // namespace

/// How a text fits each time, by each way there is; (T) each, in [0, 1].
struct VideoSearch::Fits {
  Tensor seen, heard, read, together;

  /// Whichever ways fit add up: the chance that not all of them are wrong.
  Tensor score() const { return 1 - (1 - seen) * (1 - heard) * (1 - read) * (1 - together); }
};

std::string Moment::reasons() const {
  std::ostringstream out;
  out.precision(2);
  out << std::fixed;
  for (const auto& [name, fit] : {std::pair{"seen", seen}, {"heard", heard}, {"read", read}, {"together", together}}) {
    constexpr float kWorthSaying = 0.05f;
    if (fit >= kWorthSaying) out << (out.tellp() > 0 ? ", " : "") << name << ' ' << fit;
  }
  return out.str();
}

VideoSearch::VideoSearch() : VideoSearch(Embedder::load()) {}

VideoSearch::VideoSearch(Embedder embedder)
    : VideoSearch(embedder, fs::exists(embedder.directory() / "video" / "config.json")
                                ? VideoUnderstandingImpl::load(embedder.directory() / "video")
                                : nullptr) {}

VideoSearch::VideoSearch(Embedder embedder, std::shared_ptr<VideoUnderstandingImpl> temporal)
    : embedder_(std::move(embedder)), temporal_(std::move(temporal)) {
  if (!embedder_.supports(Modality::image)) {
    detail::bad_argument(kWho, "the model in ", embedder_.directory().string(), " has no images, a video needs them");
  }
  if (has_temporal()) {
    const VideoUnderstandingOptions& o = temporal_->options();
    const std::int64_t dim = embedder_.dim();
    if (o.frame_dim != dim || o.audio_dim != dim || o.text_dim != dim || o.out_dim != dim) {
      detail::bad_argument(kWho, "the temporal model has widths ", o.frame_dim, ", ", o.audio_dim, ", ", o.text_dim,
                           " and ", o.out_dim, ", the model's vectors have ", dim);
    }
  }
  if (embedder_.supports(Modality::text)) {
    everyday_ = embedder_.embed_texts({std::begin(detail::kEveryday), std::end(detail::kEveryday)});
  }
}

WatchedVideo VideoSearch::watch(const fs::path& path, const WatchOptions& options) const {
  const torch::NoGradGuard no_grad;
  if (options.batch_size < 1) detail::bad_argument(kWho, "batch_size must be at least 1, it is ", options.batch_size);
  if (options.thumbnail_width < 0 || options.thumbnail_width > 4096) {
    detail::bad_argument(kWho, "thumbnail_width must be 0 to 4096, it is ", options.thumbnail_width);
  }
  WatchedVideo video;
  video.name = path.string();
  std::vector<Subtitle> beside;  // before the video, so that a wrong file is told at once
  const bool texts = embedder_.supports(Modality::text);
  if (options.subtitles) beside = read_subtitles(*options.subtitles);

  std::vector<Tensor> vectors;
  std::vector<ImageInput> batch;
  const auto embed_batch = [&] {
    if (!batch.empty()) vectors.push_back(embedder_.embed_images(batch, {.batch_size = options.batch_size}));
    batch.clear();
  };
  Video decoded = read_video(path, {.frames_per_second = options.frames_per_second, .frames = options.frames},
                             [&](VideoFrame frame) {
                               video.times.push_back(frame.time);
                               if (options.thumbnail_width > 0) {
                                 video.thumbnails.push_back(thumbnail(frame.image, options.thumbnail_width));
                               }
                               batch.emplace_back(std::move(frame.image));
                               if (std::ssize(batch) == options.batch_size) embed_batch();
                               if (options.progress) options.progress(frame.time);
                             });
  embed_batch();
  video.seconds = decoded.seconds;
  video.notes = std::move(decoded.notes);
  video.frames = torch::cat(vectors);
  video.step = options.frames > 0 ? video.seconds / static_cast<double>(options.frames) : 1 / options.frames_per_second;

  const bool heard = !decoded.sound.samples.empty();
  if (heard && embedder_.supports(Modality::audio)) {
    video.sound = sound_vectors(embedder_, decoded.sound, video.times, std::max(kSound, video.step));
  } else {
    video.sound = torch::zeros_like(video.frames);
    if (heard) video.notes.push_back("its sound was left out: the model has no audio");
  }
  if (texts) {
    video.subtitles = options.subtitles ? std::move(beside) : std::move(decoded.subtitles);
    if (!options.subtitles && video.subtitles.empty()) {
      if (const auto file = subtitles_beside(path)) video.subtitles = read_subtitles(*file);
    }
    if (video.subtitles.empty() && heard && options.transcriber != nullptr) {
      video.subtitles = written_down(*options.transcriber, decoded.sound);
    }
    std::vector<std::string> lines;
    for (const Subtitle& subtitle : video.subtitles) lines.push_back(subtitle.text);
    video.written = embedder_.embed_texts(lines, {.batch_size = options.batch_size});
  } else {
    video.written = torch::empty({0, embedder_.dim()});
  }
  understand(video);
  return video;
}

void VideoSearch::understand(WatchedVideo& video) const {
  const std::int64_t count = video.frames.size(0);
  if (!has_temporal()) {
    std::map<Modality, Tensor> means{{Modality::image, video.frames.mean(0)}};
    const Tensor sounding = video.sound.norm(2, 1) > 0.5;
    if (sounding.any().item<bool>()) means[Modality::audio] = video.sound.index({sounding}).mean(0);
    if (video.written.size(0) > 0) means[Modality::text] = video.written.mean(0);
    for (auto& [modality, mean] : means) mean = normalise(mean);
    video.vector = combine_query(means);
    video.importance = torch::full({count}, 1.0f / static_cast<float>(count));
    return;
  }
  /// Frames [first, last) through the network, with the subtitles on screen meanwhile; where there are none, with one
  /// that is masked, as the network has learned it.
  const auto through = [&](std::int64_t first, std::int64_t last) {
    VideoSteps steps{.frames = video.frames.slice(0, first, last).unsqueeze(0),
                     .audio = video.sound.slice(0, first, last).unsqueeze(0)};
    const double begin = video.times[static_cast<std::size_t>(first)];
    const double end = video.times[static_cast<std::size_t>(last - 1)] + video.step;
    const Tensor on = overlapping(video.subtitles, begin, end);
    const bool any = on.any().item<bool>();
    steps.transcript = any ? video.written.index({on}).unsqueeze(0) : torch::zeros({1, 1, embedder_.dim()});
    steps.transcript_mask = torch::full({1, steps.transcript.size(1)}, any, torch::kBool);
    return temporal_->forward(steps);
  };
  Tensor sum = torch::zeros({embedder_.dim()});
  std::vector<Tensor> importance;
  for (std::int64_t first = 0; first < count; first += kPiece) {
    const std::int64_t last = std::min(first + kPiece, count);
    const UnderstoodVideo piece = through(first, last);
    const double share = static_cast<double>(last - first) / static_cast<double>(count);
    sum += piece.video[0] * share;
    importance.push_back(piece.importance[0] * share);
  }
  video.vector = normalise(sum);
  video.importance = torch::cat(importance);
  std::vector<Tensor> contexts;
  for (std::int64_t i = 0; i < count; ++i) {
    contexts.push_back(through(std::max<std::int64_t>(i - kAround, 0), std::min(i + kAround + 1, count)).video[0]);
  }
  video.context = torch::stack(contexts);
}

VideoSearch::Fits VideoSearch::fits(const WatchedVideo& video, const std::string& text) const {
  const torch::NoGradGuard no_grad;
  if (!everyday_.defined()) {
    detail::bad_argument(kWho, "the model in ", embedder_.directory().string(),
                         " has no text, so nothing can be found by it");
  }
  const std::int64_t count = std::ssize(video.times);
  for (const Tensor& rows : {video.frames, video.sound}) {
    if (!rows.defined() || rows.dim() != 2 || rows.size(0) != count || rows.size(1) != embedder_.dim()) {
      detail::bad_argument(kWho, "the video has ", count, " times, its frames and sound must be vectors (", count, ", ",
                           embedder_.dim(), ") of this model");
    }
  }
  const Tensor query = embedder_.embed_text(text);
  const float written = embedder_.calibration(Modality::text).temperature;
  Fits fits;
  fits.seen = worth(video.frames, query, everyday_, temperature_of(embedder_, Modality::image));
  fits.heard = worth(video.sound, query, everyday_, temperature_of(embedder_, Modality::audio));
  fits.read = torch::zeros({count});
  if (video.written.size(0) > 0) {
    const Tensor lines = worth(video.written, query, everyday_, written);
    for (std::int64_t i = 0; i < count; ++i) {
      const double time = video.times[static_cast<std::size_t>(i)];
      const Tensor on = overlapping(video.subtitles, time, time + video.step);
      if (on.any().item<bool>()) fits.read[i] = lines.index({on}).max();
    }
  }
  fits.together = video.context.defined() ? worth(video.context, query, everyday_, written) : torch::zeros({count});
  return fits;
}

Tensor VideoSearch::scores(const WatchedVideo& video, const std::string& text) const {
  return fits(video, text).score();
}

std::vector<Moment> VideoSearch::find(const WatchedVideo& video, const std::string& text,
                                      const FindOptions& options) const {
  if (options.k < 1) detail::bad_argument(kWho, "k must be at least 1, it is ", options.k);
  const Fits fit = fits(video, text);
  const Tensor score = fit.score().contiguous();
  const auto at = score.accessor<float, 1>();
  const std::int64_t count = score.size(0);
  std::vector<bool> taken(static_cast<std::size_t>(count), false);
  std::vector<Moment> moments;
  while (std::ssize(moments) < options.k) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < count; ++i) {
      if (!taken[static_cast<std::size_t>(i)] && (best < 0 || at[i] > at[best])) best = i;
    }
    if (best < 0 || at[best] < options.min_score) break;
    const auto belongs = [&](std::int64_t i) {
      return i >= 0 && i < count && !taken[static_cast<std::size_t>(i)] && at[i] >= at[best] / 2;
    };
    std::int64_t first = best, last = best;
    while (belongs(first - 1)) --first;
    while (belongs(last + 1)) ++last;
    for (std::int64_t i = first; i <= last; ++i) taken[static_cast<std::size_t>(i)] = true;
    const auto time = [&](std::int64_t i) { return video.times[static_cast<std::size_t>(i)]; };
    const auto value = [&](const Tensor& fitting) { return fitting[best].item<float>(); };
    // An even spread looks at the middles of its parts, a rate at their beginnings.
    const double shift = video.times.front() > 0 ? video.step / 2 : 0;
    Moment moment{.start = std::max(time(first) - shift, 0.0),
                  .end = std::min(time(last) - shift + video.step, std::max(video.seconds, time(last))),
                  .best = time(best),
                  .frame = best,
                  .score = at[best],
                  .seen = value(fit.seen),
                  .heard = value(fit.heard),
                  .read = value(fit.read),
                  .together = value(fit.together),
                  .subtitle = {}};
    for (const Subtitle& subtitle : video.subtitles) {
      if (subtitle.start < moment.best + video.step && subtitle.end > moment.best) {
        moment.subtitle += (moment.subtitle.empty() ? "" : " ") + subtitle.text;
      }
    }
    moments.push_back(std::move(moment));
  }
  return moments;
}

}  // namespace trine
