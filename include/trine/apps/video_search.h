#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trine/apps/video_understanding.h"
#include "trine/embedder.h"
#include "trine/encoders/transcriber.h"
#include "trine/export.h"
#include "trine/input/video.h"

namespace trine {

struct WatchOptions {
  double frames_per_second = 1;  ///< that are looked at
  std::int64_t frames = 0;       ///< this many instead, spread evenly
  /// SubRip or WebVTT; none: those inside the file, else a file of the same name beside it.
  std::optional<std::filesystem::path> subtitles = {};
  const Transcriber* transcriber = nullptr;  ///< writes down what is said where there are no subtitles
  int thumbnail_width = 0;                   ///< pixels of `WatchedVideo::thumbnails`; 0: none are kept
  std::int64_t batch_size = 32;
  std::function<void(double seconds)> progress = {};  ///< is told how far it has come
};

/// A video as vectors: what is seen, heard and written at each of T times.
struct WatchedVideo {
  std::string name;
  double seconds = 0;
  double step = 0;                 ///< seconds from one time to the next
  std::vector<double> times = {};  ///< (T), seconds
  torch::Tensor frames = {};       ///< (T, D), of unit length
  torch::Tensor sound =
      {};  ///< (T, D): of two seconds around each time, or of `step` if that is more; zeros in silence
  std::vector<Subtitle> subtitles = {};  ///< (S)
  torch::Tensor written = {};            ///< (S, D): their vectors
  torch::Tensor vector = {};             ///< (D): the whole video, of unit length
  torch::Tensor importance = {};         ///< (T): of each frame for it, summing to 1
  torch::Tensor context = {};  ///< (T, D): five frames around each time together, by the temporal model; else undefined
  std::vector<Image> thumbnails = {};   ///< (T) if they were asked for
  std::vector<std::string> notes = {};  ///< sentences on what was missing, cut or damaged
};

/// A stretch of a video that fits a text.
struct TRINE_API Moment {
  double start = 0;  ///< seconds
  double end = 0;
  double best = 0;            ///< the time that fits best
  std::int64_t frame = 0;     ///< its place in WatchedVideo::times
  float score = 0;            ///< in [0, 1]: how much more than everyday things the text fits there
  float seen = 0;             ///< the same of the picture alone,
  float heard = 0;            ///< of the sound,
  float read = 0;             ///< of the subtitles,
  float together = 0;         ///< and of all three in time, by the temporal model; 0 without one
  std::string subtitle = {};  ///< what is written there

  /// "seen 0.93, read 0.41"
  std::string reasons() const;
};

struct FindOptions {
  std::int64_t k = 5;      ///< moments, at most
  float min_score = 0.1f;  ///< of a moment's best time
};

/// Finds moments of videos by what is seen, heard and written in them.
///
///     trine::VideoSearch search;
///     trine::WatchedVideo video = search.watch("clip.mp4");
///     for (const trine::Moment& m : search.find(video, "a ripe banana"))
///       std::cout << m.start << " to " << m.end << " s: " << m.score << "\n";
///
/// Without a temporal model the video's vector is the mean of its frames, of its sounds and of its subtitles (weights
/// 1, 0.5, 1) and all frames count alike. With one, VideoUnderstanding over the same vectors, it is that network's;
/// long videos go through in pieces of 16 frames. The default model has one, in models/default/video. Errors:
/// std::invalid_argument for a model without images, or a search without texts; std::runtime_error for files.
class TRINE_API VideoSearch {
 public:
  VideoSearch();  ///< the default model
  /// With the temporal model in the folder "video" of the model's directory, if there is one.
  explicit VideoSearch(Embedder embedder);
  /// With this temporal model; nullptr: without any.
  VideoSearch(Embedder embedder, std::shared_ptr<VideoUnderstandingImpl> temporal);

  WatchedVideo watch(const std::filesystem::path& video, const WatchOptions& options = {}) const;

  /// Best first. Neighbouring times belong to one moment while they score at least half its best.
  std::vector<Moment> find(const WatchedVideo& video, const std::string& text, const FindOptions& options = {}) const;
  /// The score of each time, (T): what `find` makes moments of.
  torch::Tensor scores(const WatchedVideo& video, const std::string& text) const;

  const Embedder& embedder() const { return embedder_; }
  bool has_temporal() const { return temporal_ != nullptr; }

 private:
  struct Fits;
  Fits fits(const WatchedVideo& video, const std::string& text) const;
  void understand(WatchedVideo& video) const;

  Embedder embedder_;
  std::shared_ptr<VideoUnderstandingImpl> temporal_;
  torch::Tensor everyday_ = {};  // (N, D): texts that a fitting one must beat
};

}  // namespace trine
