// Trains the heads that tell from a clip's sound, not its words, how a voice feels and what makes a noise.
//
//   train_clip_heads --model models/default --data ../shared/data
//
// Voices: EmoDB, German acted speech. Noises: ESC-10. Block of the encoder and penalty are chosen on clips that the
// head has not learned from: for EmoDB each speaker by a head of the others, for ESC-10 fold 4 by one of folds 1 to 3.
// The voice head that is kept learns from all speakers, the sound head from folds 1 to 4. Temperatures are fitted on
// the clips of the choice; they and the standardisation are folded into the weights. How well voices are told without
// their speaker: `trine evaluate --task voice-emotion --leave-out`.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/clip_head_fit.h"
#include "corpus.h"
#include "detail/csv.h"
#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "trine/layers.h"
#include "trine/train/trainer.h"

namespace fs = std::filesystem;
using namespace trine::detail;
using torch::Tensor;

namespace {

constexpr const char* kWho = "train_clip_heads";

struct Options {
  fs::path model, data;
};

ClipLesson learn_from(const trine::Embedder& model, const std::string& title, const std::vector<ClipLabel>& clips) {
  trine::train::ProgressBar bar(title, std::ssize(clips));
  return lesson_of(kWho, model, clips, [&](std::int64_t done) { bar.show(done); });
}

std::vector<ClipLabel> voices(const fs::path& data) {
  std::vector<ClipLabel> clips;
  std::vector<std::string> header;
  const fs::path folder = data / "voice_emotion_emodb";
  constexpr std::uint64_t kMostBytes = 1 << 24;
  read_csv(kWho, folder / "clips.csv", kMostBytes,
           [&](const std::vector<std::string>& cells, const std::string& place) {
             if (header.empty()) return void(header = cells);
             const auto cell = [&](const char* name) {
               const auto found = std::ranges::find(header, name) - header.begin();
               if (found >= std::ssize(cells)) failure(kWho, place, ": there is no ", name);
               return cells[static_cast<std::size_t>(found)];
             };
             clips.push_back({folder / cell("path"), cell("emotion"), cell("speaker")});
           });
  return clips;
}

/// Folds 1 to 4 of ESC-10: files are named FOLD-..., folders as the sound.
std::vector<ClipLabel> sounds(const fs::path& data) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(data / "sounds_esc10")) {
    const std::string name = entry.path().filename().string();
    if (name.size() > 2 && name[0] >= '1' && name[0] <= '4' && name[1] == '-') files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<ClipLabel> clips;
  for (const fs::path& file : files) {
    std::string label = file.parent_path().filename().string();
    std::ranges::replace(label, '_', ' ');
    std::ranges::transform(label, label.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    clips.push_back({file, label, file.filename().string().substr(0, 1)});
  }
  return clips;
}

/// Writes the head that learned from all clips, and its block into the entry of config.json.
void keep(const ClipLesson& lesson, ClipChoice choice, double scale, const fs::path& folder, Json& entry) {
  const FittedClipHead head = fit_clip_head(lesson, choice, groups_of(lesson));
  entry["labels"] = lesson.labels;
  entry["block"] = choice.block;
  trine::save_tensors(folder / get<std::string>(kWho, entry, "weights"),
                      {{"weight", head.weight * scale}, {"bias", head.bias * scale}}, {}, /*half=*/true);
  std::printf("block %ld, penalty %g, scale %.2f\n", static_cast<long>(choice.block), choice.penalty, scale);
}

void train(const Options& options) {
  const trine::Embedder model = trine::Embedder::load(options.model, {trine::Modality::audio});
  Json config = read_json(kWho, options.model / "config.json");

  const ClipLesson noises = learn_from(model, "sounds", sounds(options.data));
  const Tensor fold4 = noises.truth.index_select(0, rows_of(noises, {3}));
  const auto of_fold4 = [&](ClipChoice tried) { return clip_logits(noises, tried, {0, 1, 2}, {3}); };
  const ClipChoice sound = best_choice(noises, fold4, of_fold4);
  keep(noises, sound, best_scale(of_fold4(sound), fold4), options.model, config.at("sound"));

  const ClipLesson speech = learn_from(model, "voices", voices(options.data));
  const std::vector<std::int64_t> speakers = groups_of(speech);
  const Tensor felt = speech.truth.index_select(0, rows_of(speech, speakers));
  const auto of_others = [&](ClipChoice tried) { return held_out_logits(speech, tried, speakers); };
  const ClipChoice voice = best_choice(speech, felt, of_others);
  keep(speech, voice, best_scale(of_others(voice), felt), options.model, config.at("emotion").at("voice"));

  write_atomically(kWho, options.model / "config.json", [&](std::ostream& out) { out << config.dump(2) << "\n"; });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Heads for voices' emotions and for sounds");
  Options options;
  app.add_option("--model", options.model, "folder of the model whose heads these are")->required();
  app.add_option("--data", options.data, "folder with voice_emotion_emodb and sounds_esc10")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    train(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
