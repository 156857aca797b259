#include <algorithm>
#include <map>
#include <set>

#include "detail/error.h"
#include "detail/json.h"
#include "evaluate.h"
#include "trine/apps/video_search.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

using torch::Tensor;

constexpr std::size_t kTexts = 100;  ///< that a video's own text has to come first of

/// A stretch that shows what a text says.
struct Shown {
  std::string text;
  double start = 0;  ///< seconds
  double end = 0;
};

struct Video {
  std::filesystem::path file;
  std::string text;
  std::map<std::string, std::string> unlike;  ///< texts that do not fit, by what is wrong with them
  std::vector<Shown> shows;
  std::string set;
};

std::vector<Video> read_videos(const std::filesystem::path& manifest) {
  std::vector<Video> videos;
  read_lines(manifest, [&](const Json& line) {
    Video video{.file = manifest.parent_path() / detail::get<std::string>(kWho, line, "video"),
                .text = detail::get<std::string>(kWho, line, "text"),
                .unlike = {},
                .shows = {},
                .set = detail::get_or<std::string>(kWho, line, "set", "")};
    if (line.contains("unlike")) {
      const Json& unlike = line.at("unlike");
      if (!unlike.is_object()) detail::bad_json_key(kWho, "unlike", &unlike);
      for (const auto& [what, text] : unlike.items()) {
        video.unlike[what] = detail::get<std::string>(kWho, unlike, what.c_str());
      }
    }
    if (line.contains("shows")) {
      const Json& shows = line.at("shows");
      if (!shows.is_array()) detail::bad_json_key(kWho, "shows", &shows);
      for (const Json& one : shows) {
        video.shows.push_back({detail::get<std::string>(kWho, one, "text"), detail::get<double>(kWho, one, "start"),
                               detail::get<double>(kWho, one, "end")});
      }
    }
    videos.push_back(std::move(video));
  });
  return videos;
}

/// The text of a video, those unlike it, and texts of the next videos that are others; kTexts at most.
std::vector<std::string> candidates(const std::vector<Video>& videos, std::size_t number) {
  const Video& video = videos[number];
  std::vector<std::string> texts{video.text};
  std::set<std::string> seen{video.text};
  for (const auto& [what, text] : video.unlike) {
    if (seen.insert(text).second) texts.push_back(text);
  }
  for (std::size_t i = 1; i < videos.size() && texts.size() < kTexts; ++i) {
    const std::string& text = videos[(number + i) % videos.size()].text;
    if (seen.insert(text).second) texts.push_back(text);
  }
  return texts;
}

/// Cases and hits by what is counted, in the order in which it was first seen.
class Counts {
 public:
  void add(const std::string& what, bool hit, double chance) {
    auto found = std::ranges::find(rows_, what, &Row::what);
    if (found == rows_.end()) found = rows_.insert(rows_.end(), Row{.what = what});
    ++found->count;
    found->hits += hit;
    found->chance += chance;
  }

  std::vector<Figure> figures() const {
    std::vector<Figure> figures;
    for (const Row& row : rows_) {
      figures.push_back(share(row.what, row.hits, row.count, row.chance / static_cast<double>(row.count)));
    }
    return figures;
  }

 private:
  struct Row {
    std::string what;
    std::int64_t hits = 0, count = 0;
    double chance = 0;  ///< the sum over the cases
  };
  std::vector<Row> rows_;
};

/// Seconds of a video in which one of several stretches lies.
double covered(const std::vector<Shown>& stretches, double seconds) {
  std::vector<std::pair<double, double>> parts;
  for (const Shown& one : stretches) parts.emplace_back(std::max(one.start, 0.0), std::min(one.end, seconds));
  std::ranges::sort(parts);
  double sum = 0, last = 0;
  for (const auto& [start, end] : parts) {
    sum += std::max(end - std::max(start, last), 0.0);
    last = std::max(last, end);
  }
  return sum;
}

}  // namespace

Found evaluate_video(const Embedder& model, const TaskEvaluation& task) {
  const std::vector<Video> videos = read_videos(task.manifest);
  const VideoSearch search = task.no_temporal ? VideoSearch(model, nullptr) : VideoSearch(model);
  std::map<std::string, Tensor> vectors;
  const auto vector_of = [&](const std::string& text) {
    Tensor& vector = vectors[text];
    if (!vector.defined()) vector = model.embed_text(text);
    return vector;
  };
  Counts first, sets, pairs, moments;
  train::ProgressBar bar("watching", std::ssize(videos));
  for (std::size_t i = 0; i < videos.size(); ++i) {
    const Video& video = videos[i];
    const WatchedVideo watched = search.watch(video.file);
    std::vector<Tensor> rows;
    for (const std::string& text : candidates(videos, i)) rows.push_back(vector_of(text));
    const Tensor scores = torch::stack(rows).mv(watched.vector);
    const bool is_first = scores.slice(0, 1).numel() == 0 || (scores.slice(0, 1) < scores[0]).all().item<bool>();
    const double chance = 1.0 / static_cast<double>(rows.size());
    first.add("own text first of " + std::to_string(kTexts) + " at most", is_first, chance);
    if (!video.set.empty()) sets.add("the same, " + video.set, is_first, chance);
    for (const auto& [what, text] : video.unlike) {
      const bool before = (vector_of(text).dot(watched.vector) < scores[0]).item<bool>();
      pairs.add("own text before it: " + what, before, 0.5);
    }
    std::map<std::string, std::vector<Shown>> by_text;
    for (const Shown& one : video.shows) by_text[one.text].push_back(one);
    for (const auto& [text, stretches] : by_text) {
      const std::vector<Moment> found = search.find(watched, text, {.k = 1, .min_score = 0});
      const bool inside = !found.empty() && std::ranges::any_of(stretches, [&](const Shown& one) {
        return one.start <= found[0].best && found[0].best < one.end;
      });
      moments.add("best moment shows it", inside, covered(stretches, watched.seconds) / watched.seconds);
    }
    bar.show(static_cast<std::int64_t>(i) + 1);
  }
  Found result{.figures = first.figures(), .more = {{"temporal", search.has_temporal()}}};
  for (const Counts* counts : {&sets, &pairs, &moments})
    std::ranges::copy(counts->figures(), std::back_inserter(result.figures));
  return result;
}

}  // namespace trine::cli
