#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>

#include "command.h"
#include "sheet.h"
#include "trine/apps/video_search.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::string video;
  std::string text;
  std::string subtitles;
  std::string sheet;
  double frames_per_second = 1;
  std::int64_t frames = 0;
  FindOptions find;
  bool transcribe = false;
  bool no_temporal = false;
};

Json json_of(const Moment& moment) {
  const auto seconds = [](double value) { return std::round(value * 1000) / 1000; };
  return {{"start", seconds(moment.start)}, {"end", seconds(moment.end)},          {"best", seconds(moment.best)},
          {"score", number(moment.score)},  {"seen", number(moment.seen)},         {"heard", number(moment.heard)},
          {"read", number(moment.read)},    {"together", number(moment.together)}, {"subtitle", moment.subtitle}};
}

Json json_of(const WatchedVideo& video) {
  Json subtitles = Json::array(), frames = Json::array();
  for (const Subtitle& subtitle : video.subtitles) {
    subtitles.push_back({{"start", subtitle.start}, {"end", subtitle.end}, {"text", subtitle.text}});
  }
  for (std::size_t i = 0; i < video.times.size(); ++i) {
    frames.push_back({{"time", video.times[i]},
                      {"importance", number(video.importance[static_cast<std::int64_t>(i)].item<float>())}});
  }
  return {{"input", video.name},
          {"seconds", video.seconds},
          {"notes", video.notes},
          {"subtitles", subtitles},
          {"frames", frames}};
}

void print_moments(const std::vector<Moment>& moments) {
  std::vector<std::vector<std::string>> rows{{"#", "from", "to", "score", "why", "subtitle"}};
  for (const Moment& moment : moments) {
    rows.push_back({std::to_string(rows.size()), clock_time(moment.start), clock_time(moment.end),
                    fixed(moment.score, 2), moment.reasons(), one_line(moment.subtitle, 40)});
  }
  std::string text;
  for (const std::string& line : aligned(rows)) text += line + "\n";
  print(text);
}

void run(Options options) {
  if (!options.sheet.empty() && options.text.empty())
    throw CLI::ValidationError("--sheet shows what --find found: give both");
  const std::string kind = std::filesystem::path(options.sheet).extension().string();
  if (!options.sheet.empty() && kind != ".svg" && kind != ".jpg" && kind != ".jpeg") {
    throw CLI::ValidationError("--sheet writes an SVG or a JPEG: its name must end in .svg or .jpg");
  }
  if (!options.text.empty()) options.text = text_argument(options.text);
  const Embedder model = load_model(options);
  const VideoSearch search = options.no_temporal ? VideoSearch(model, nullptr) : VideoSearch(model);
  std::optional<Transcriber> transcriber;
  if (options.transcribe) transcriber = options.model.empty() ? Transcriber::load() : Transcriber::load(options.model);
  constexpr int kThumbnail = 440;  // pixels, twice what the sheet shows, for screens that are fine
  WatchOptions watch{.frames_per_second = options.frames_per_second,
                     .frames = options.frames,
                     .transcriber = transcriber ? &*transcriber : nullptr,
                     .thumbnail_width = options.sheet.empty() ? 0 : kThumbnail};
  if (!options.subtitles.empty()) watch.subtitles = options.subtitles;
  const WatchedVideo video = search.watch(options.video, watch);
  for (const std::string& note : video.notes) say("Note: " + note + ".");
  Json json = json_of(video);
  if (options.text.empty()) {
    if (options.json) return print(json);
    return print(one_line(video.name) + ": " + clock_time(video.seconds) + ", " + std::to_string(video.times.size()) +
                 " frames looked at, " + std::to_string(video.subtitles.size()) +
                 " subtitles. --find TEXT finds moments.\n");
  }
  const std::vector<Moment> moments = search.find(video, options.text, options.find);
  if (!options.sheet.empty()) {
    const torch::Tensor scores = search.scores(video, options.text);
    std::ofstream file(options.sheet, std::ios::binary);
    if (kind == ".svg") {
      file << contact_sheet_svg(video, options.text, moments, scores);
    } else {
      const std::vector<std::byte> bytes = contact_sheet_jpeg(video, moments, scores);
      file.write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    }
    if (!file.flush()) throw std::runtime_error("[video] cannot write " + options.sheet);
  }
  if (!options.json) {
    if (moments.empty()) return say("Nothing in it fits \"" + one_line(options.text) + "\".");
    return print_moments(moments);
  }
  json["text"] = options.text;
  json["moments"] = Json::array();
  for (const Moment& moment : moments) json["moments"].push_back(json_of(moment));
  print(json);
}

}  // namespace

void add_video(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "video", "Finds moments of a video by what is seen, heard and written in it",
                                  "trine video clip.mp4 --find \"a ripe banana\" --sheet found.svg", *options);
  command->add_option("video", options->video, "MP4, MOV, Matroska, WebM, AVI, Ogg, MPEG-TS, GIF ...")
      ->type_name("CLIP")
      ->required();
  command->add_option("--find", options->text, "What the moments show, say or stand under; - reads it from stdin")
      ->type_name("TEXT");
  command->add_option("-k", options->find.k, "Moments wanted, 5 if not said")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000));
  command->add_option("--min-score", options->find.min_score, "That a moment must have, 0.1 if not said")
      ->type_name("X")
      ->check(CLI::Range(0.0, 1.0));
  CLI::Option* rate =
      command->add_option("--fps", options->frames_per_second, "Frames a second that are looked at, 1 if not said")
          ->type_name("X")
          ->check(CLI::Range(0.001, 1000.0));
  command->add_option("--frames", options->frames, "This many instead, spread evenly")
      ->type_name("N")
      ->check(CLI::Range(1, 14'400))
      ->excludes(rate);
  command->add_option("--subtitles", options->subtitles, "SubRip or WebVTT; without it those in the video or beside it")
      ->type_name("FILE");
  command->add_flag("--transcribe", options->transcribe, "Writes down what is said where there are no subtitles");
  command->add_flag("--no-temporal", options->no_temporal, "Without the model that looks at frames in their order");
  command->add_option("--sheet", options->sheet, "Writes a picture of the moments with times and scores")
      ->type_name("OUT.svg");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
