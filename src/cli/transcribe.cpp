#include <cmath>
#include <filesystem>

#include "command.h"
#include "trine/encoders/transcriber.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::vector<std::string> clips;
  TranscribeOptions transcribe;
  bool translate = false;
  bool own_length = false;
};

Json json_of(const std::string& clip, const Transcript& transcript) {
  Json segments = Json::array();
  for (const Transcript::Segment& segment : transcript.segments) {
    segments.push_back({{"start", std::round(segment.start * 100) / 100},
                        {"end", std::round(segment.end * 100) / 100},
                        {"text", segment.text}});
  }
  Json json{{"input", clip}, {"text", transcript.text}};
  if (!transcript.language.empty()) json["language"] = transcript.language;
  json["confidence"] = number(static_cast<float>(transcript.confidence));
  json["no_speech"] = number(static_cast<float>(transcript.no_speech));
  json["repeated"] = transcript.repeated;
  json["segments"] = segments;
  json["tokens"] = transcript.tokens;
  return json;
}

void print_text(const Options& options, const std::string& clip, const Transcript& transcript) {
  constexpr std::size_t kAll = 1'000'000;
  const std::string name = options.clips.size() > 1 ? one_line(clip) + ": " : "";
  if (!options.transcribe.timestamps) return print(name + one_line(transcript.text, kAll) + "\n");
  for (const Transcript::Segment& segment : transcript.segments) {
    print(name + "[" + fixed(segment.start, 2) + " to " + fixed(segment.end, 2) + "] " + one_line(segment.text, kAll) +
          "\n");
  }
}

void run(Options options) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  options.transcribe.task = options.translate ? SpeechTask::translate : SpeechTask::transcribe;
  options.transcribe.whole_window = !options.own_length;
  const Transcriber transcriber = options.model.empty() ? Transcriber::load() : Transcriber::load(options.model);
  for (const std::string& clip : options.clips) {
    const Transcript transcript = transcriber.transcribe(std::filesystem::path(clip), options.transcribe);
    if (transcript.text.empty()) say("Nothing is said in " + one_line(clip) + ".");
    if (transcript.repeated) say("The decoder repeated itself on " + one_line(clip) + " and was stopped there.");
    if (options.json) {
      print(json_of(clip, transcript));
    } else {
      print_text(options, clip, transcript);
    }
  }
}

}  // namespace

void add_transcribe(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "transcribe", "What is said in clips, as text",
                                  "trine transcribe question.wav --timestamps", *options);
  command->add_option("clips", options->clips, "Files with speech")->type_name("CLIP")->required();
  command->add_flag("--timestamps", options->transcribe.timestamps, "Parts of the text with their times");
  command
      ->add_option("--language", options->transcribe.language,
                   "Code like de, for a multilingual model; without it the language is detected")
      ->type_name("CODE");
  command->add_flag("--translate", options->translate, "Into English, with a multilingual model");
  command->add_flag("--own-length", options->own_length,
                    "A short clip on its own length instead of 30 s: faster, a little less accurate");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
