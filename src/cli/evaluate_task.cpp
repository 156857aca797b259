#include <algorithm>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <set>

#include "apps/clip_head_fit.h"
#include "detail/error.h"
#include "evaluate.h"
#include "figures.h"
#include "trine/apps/emotion.h"
#include "trine/apps/intent.h"
#include "trine/apps/sound.h"
#include "trine/encoders/transcriber.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

using torch::Tensor;
using train::Sample;

constexpr const char* kOther = "out_of_scope";  ///< the label of texts with none of the intents
constexpr const char* kBetween = ",";           ///< two labels that hold at once

/// The lines of a manifest with their only input of `modality`, and a label where one is wanted.
std::vector<Sample> read_labelled(const std::string& manifest, Modality modality, bool with_label) {
  std::vector<Sample> samples = read_queries(manifest, /*with_id=*/false);
  for (const Sample& sample : samples) {
    if (!sample.inputs.contains(modality)) {
      refuse(manifest, sample, '"' + std::string(to_string(modality)) + "\" is wanted");
    }
    if (with_label && sample.label.empty()) refuse(manifest, sample, "\"label\" is missing");
  }
  return samples;
}

const std::string& input_of(const Sample& sample, Modality modality) { return sample.inputs.at(modality).front(); }

/// "joy, anger" -> {joy, anger}
std::vector<std::string> labels_of(const Sample& sample) {
  std::vector<std::string> labels;
  for (std::size_t begin = 0; begin <= sample.label.size();) {
    const std::size_t end = std::min(sample.label.find(kBetween, begin), sample.label.size());
    std::string label = sample.label.substr(begin, end - begin);
    while (label.starts_with(' ')) label.erase(0, 1);
    labels.push_back(label);
    begin = end + 1;
  }
  return labels;
}

/// Scores of every sample, and what its labels say; the head's labels are those of the first scores, sorted.
Judged judge(const std::string& manifest, const std::vector<Sample>& samples,
             const std::function<std::vector<Score>(const Sample&)>& scores_of) {
  Judged judged;
  train::ProgressBar bar("evaluate", static_cast<std::int64_t>(samples.size()));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::vector<Score> scores = scores_of(samples[i]);
    const auto row = static_cast<std::int64_t>(i);
    if (i == 0) {
      for (const Score& score : scores) judged.labels.push_back(score.label);
      std::ranges::sort(judged.labels);
      const std::vector<std::int64_t> shape{std::ssize(samples), std::ssize(judged.labels)};
      judged.scores = torch::zeros(shape);
      judged.truth = torch::zeros(shape, torch::kBool);
    }
    const auto column = [&](const std::string& label) {
      const auto found = std::ranges::lower_bound(judged.labels, label);
      if (found != judged.labels.end() && *found == label) return found - judged.labels.begin();
      std::string known;
      for (const std::string& name : judged.labels) known += (known.empty() ? "" : ", ") + name;
      refuse(manifest, samples[i], "no label \"" + one_line(label) + "\"; known are " + one_line(known, 400));
    };
    for (const Score& score : scores) judged.scores[row][column(score.label)] = score.probability;
    for (const std::string& label : labels_of(samples[i])) judged.truth[row][column(label)] = true;
    bar.show(row + 1);
  }
  return judged;
}

/// Cases of each label and how many of them the likeliest label hit.
Json hits_of(const Judged& judged) {
  const Tensor right = judged.truth.gather(1, judged.scores.argmax(1, true));
  const Tensor cases = judged.truth.sum(0), hits = (judged.truth & right).sum(0);
  Json json = Json::object();
  for (std::size_t i = 0; i < judged.labels.size(); ++i) {
    const auto column = static_cast<std::int64_t>(i);
    json[judged.labels[i]] = {{"count", cases[column].item<std::int64_t>()},
                              {"right", hits[column].item<std::int64_t>()}};
  }
  return json;
}

Found evaluate_emotion(const Embedder& model, const TaskEvaluation& task) {
  const EmotionRecognizer emotion = EmotionRecognizer::load(model);
  const bool groups = task.name == "emotion";
  const auto judged_of = [&](const std::string& manifest) {
    return judge(manifest, read_labelled(manifest, Modality::text, true), [&](const Sample& sample) {
      const std::string& text = input_of(sample, Modality::text);
      return groups ? emotion.text(text) : emotion.text_labels(text);
    });
  };
  const Judged judged = judged_of(task.manifest);
  const Tensor thresholds =
      task.fit.empty() ? torch::full({std::ssize(judged.labels)}, 0.5) : best_thresholds(judged_of(task.fit));
  Json labels = hits_of(judged);
  const Tensor f1 = label_f1(judged, thresholds);
  for (std::size_t i = 0; i < judged.labels.size(); ++i) {
    const auto column = static_cast<std::int64_t>(i);
    labels[judged.labels[i]].update(
        {{"f1", f1[column].item<double>()}, {"threshold", thresholds[column].item<double>()}});
  }
  return {judged.labels, many_label_figures(judged, thresholds), {{"labels", labels}}};
}

Found evaluate_clips(const TaskEvaluation& task,
                     const std::function<std::vector<Score>(const AudioInput&)>& scores_of) {
  const std::vector<Sample> samples = read_labelled(task.manifest, Modality::audio, true);
  const Judged judged = judge(task.manifest, samples, [&](const Sample& sample) {
    return scores_of(std::filesystem::path(input_of(sample, Modality::audio)));
  });
  return {judged.labels, one_label_figures(judged), {{"labels", hits_of(judged)}}};
}

/// The clips of each set by a head of its own, which has not heard them.
Found evaluate_without_set(const Embedder& model, const TaskEvaluation& task) {
  std::vector<detail::ClipLabel> clips;
  for (const Sample& sample : read_labelled(task.manifest, Modality::audio, true)) {
    if (sample.set.empty()) refuse(task.manifest, sample, "\"set\" is missing, which --leave-out leaves out");
    clips.push_back({std::filesystem::path(input_of(sample, Modality::audio)), sample.label, sample.set});
  }
  std::set<std::string> sets;
  for (const detail::ClipLabel& clip : clips) sets.insert(clip.group);
  if (sets.size() < 3) detail::failure(kWho, "--leave-out wants clips of three sets at least, got ", sets.size());
  train::ProgressBar listening("listening", std::ssize(clips));
  const detail::ClipLesson lesson =
      detail::lesson_of(kWho, model, clips, [&](std::int64_t done) { listening.show(done); });
  train::ProgressBar fitting("fitting", std::ssize(sets));
  const Judged judged{
      .labels = lesson.labels,
      .scores = detail::nested_logits(lesson, [&](std::int64_t done) { fitting.show(done); }).softmax(1),
      .truth = torch::nn::functional::one_hot(lesson.truth, std::ssize(lesson.labels)).to(torch::kBool)};
  return {judged.labels, one_label_figures(judged), {{"labels", hits_of(judged)}}};
}

IntentClassifier intents_of(const Embedder& model, const TaskEvaluation& task) {
  if (task.fit.empty()) return IntentClassifier::load(model);
  std::map<std::string, std::vector<std::string>> examples;
  for (const Sample& sample : read_labelled(task.fit, Modality::text, true)) {
    examples[sample.label].push_back(input_of(sample, Modality::text));
  }
  return IntentClassifier::fit(model, examples);
}

Found evaluate_intents(const Embedder& model, const TaskEvaluation& task) {
  const std::vector<Sample> samples = read_labelled(task.manifest, Modality::text, true);
  const IntentClassifier classifier = intents_of(model, task);
  std::vector<std::string> texts;
  for (const Sample& sample : samples) {
    texts.push_back(input_of(sample, Modality::text));
    if (sample.label != kOther && !std::ranges::binary_search(classifier.labels(), sample.label)) {
      refuse(task.manifest, sample, "no intent \"" + one_line(sample.label) + '"');
    }
  }
  const std::vector<Intent> found = classifier.understand(texts);
  std::int64_t inside = 0, right = 0, kept = 0, outside = 0, refused = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].label == kOther) {
      ++outside;
      refused += !found[i].in_scope;
      continue;
    }
    const bool is_right = found[i].scores.front().label == samples[i].label;
    ++inside;
    right += is_right;
    kept += is_right && found[i].in_scope;
  }
  const double chance = 1.0 / static_cast<double>(classifier.labels().size());
  Found result{.labels = classifier.labels()};
  if (inside > 0) {
    result.figures = {share("accuracy, told which are in scope", right, inside, chance),
                      share("in scope: kept and right", kept, inside, chance)};
  }
  if (outside > 0) result.figures.push_back(share("out of scope: found", refused, outside, 0.5));
  return result;
}

Found evaluate_transcripts(const CommonOptions& common, const TaskEvaluation& task) {
  const std::vector<Sample> samples = read_labelled(task.manifest, Modality::audio, false);
  const Transcriber transcriber = common.model.empty() ? Transcriber::load() : Transcriber::load(common.model);
  std::vector<std::string> said, heard;
  train::ProgressBar bar("hearing", std::ssize(samples));
  for (const Sample& sample : samples) {
    if (!sample.inputs.contains(Modality::text)) {
      refuse(task.manifest, sample, "\"text\" is wanted, what is said");
    }
    said.push_back(input_of(sample, Modality::text));
    heard.push_back(transcriber.transcribe(std::filesystem::path(input_of(sample, Modality::audio))).text);
    bar.show(std::ssize(heard));
  }
  return {.figures = word_figures(said, heard), .more = {{"heard", heard}}};
}

Found evaluate(const CommonOptions& common, const TaskEvaluation& task) {
  if (task.name == "transcript") {
    if (common.threads > 0) at::set_num_threads(common.threads);
    return evaluate_transcripts(common, task);
  }
  const Embedder model = load_model(common);
  if (task.name == "intent") return evaluate_intents(model, task);
  if (task.name == "damage") return evaluate_damage(model, task);
  if (task.name == "video") return evaluate_video(model, task);
  if (task.leave_out) return evaluate_without_set(model, task);
  if (task.name == "sound") {
    return evaluate_clips(
        task, [sounds = SoundRecognizer::load(model)](const AudioInput& clip) { return sounds.recognize(clip); });
  }
  if (task.name == "voice-emotion") {
    return evaluate_clips(
        task, [emotion = EmotionRecognizer::load(model)](const AudioInput& clip) { return emotion.voice(clip); });
  }
  return evaluate_emotion(model, task);
}

}  // namespace

void evaluate_task(const CommonOptions& common, const TaskEvaluation& task) {
  const auto only = [&](bool given, const char* option, std::initializer_list<const char*> names) {
    if (!given || std::ranges::find(names, task.name) != names.end()) return;
    std::string known;
    for (const char* name : names) known += (known.empty() ? "" : ", ") + std::string(name);
    detail::failure(kWho, option, " is for ", known, ", not for ", task.name);
  };
  only(!task.fit.empty(), "--fit", {"intent", "emotion", "emotion-labels"});
  only(!task.head.empty(), "--head", {"damage"});
  only(task.leave_out, "--leave-out", {"sound", "voice-emotion"});
  only(task.no_temporal, "--no-temporal", {"video"});
  const Found found = evaluate(common, task);
  if (!common.json) return print(table_of(found.figures));
  Json whole{{"task", task.name}, {"manifest", task.manifest}, {"results", json_of(found.figures)}};
  if (!found.labels.empty()) whole["known"] = found.labels;
  whole.update(found.more);
  print(whole);
}

}  // namespace trine::cli
