#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trine/export.h"
#include "trine/fusion.h"

/// Whether a second or third modality pays, shown on one's own labelled sample.

namespace trine::train {

struct AdviseOptions {
  std::int64_t folds = 5;
  std::uint64_t seed = 1;  ///< of the folds and the resampling
  double worth = 0.01;     ///< gain in accuracy that would be worth a modality; smaller ones do not pay
  /// Samples of one id show one thing and stay in one fold. Empty: each its own
  std::vector<std::string> ids = {};
  std::map<std::string, double> milliseconds = {};  ///< of each modality's tower, if known
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

/// A subset of the modalities, each sample judged by a head that was trained without its fold.
struct SubsetResult {
  std::vector<std::string> modalities;
  std::int64_t right = 0;
  double accuracy = 0;
  std::pair<double, double> interval{};  ///< 95 %, over things (ids)
  double macro_f1 = 0;
  double covered = 0;       ///< share of the samples that have one of the modalities; of the others the commonest class
  double milliseconds = 0;  ///< mean of a query: towers of what the samples have
};

enum class Verdict { pays, does_not_pay, undecided };

TRINE_API std::string_view to_string(Verdict verdict);

/// One modality more, on the same samples.
struct Comparison {
  std::vector<std::string> without;
  std::string added;
  double gain = 0;                       ///< in accuracy
  std::pair<double, double> interval{};  ///< 95 %, paired bootstrap over things
  double p_value = 1;                    ///< McNemar's exact test, of samples
  std::int64_t won = 0;                  ///< samples that only the larger set has right
  std::int64_t lost = 0;                 ///< only the smaller
  double milliseconds = 0;               ///< that it adds to a query
  Verdict verdict = Verdict::undecided;
};

struct ClassResult {
  std::string label;
  std::int64_t count = 0;
  std::int64_t wrong = 0;
  std::string taken_for = {};  ///< most often, when wrong
};

struct LearningPoint {
  double share = 0;          ///< of the training samples
  std::int64_t samples = 0;  ///< mean number
  double accuracy = 0;
};

struct Advice {
  std::int64_t samples = 0;
  std::int64_t classes = 0;
  double chance = 0;                           ///< accuracy of always the commonest class
  std::vector<SubsetResult> subsets = {};      ///< the single ones first
  std::vector<Comparison> comparisons = {};    ///< every subset against each that lacks one of its modalities
  std::vector<std::string> recommended = {};   ///< the best single modality and those that pay on top of it
  std::vector<ClassResult> worst = {};         ///< with the recommended ones, most errors first; at most 10
  std::map<std::string, double> missing = {};  ///< share of the samples without a modality
  std::vector<LearningPoint> learning = {};    ///< with the recommended ones
  std::pair<double, double> more_data{};       ///< 95 % interval of what the second half of the training data brought
  std::vector<std::string> sentences = {};     ///< all of it in plain words
};

/// Trains light heads for every subset of the modalities by stratified cross-validation and says what they are worth.
///
/// A head is linear: ridge regression on the classes, its penalty and the calibration of its scores chosen by leaving
/// out one training thing at a time. A subset multiplies the calibrated chances of its modalities' heads: a modality
/// that tells nothing then changes nothing. Everything follows from the seed.
///
/// features (N, T, D) or (N, D) by modality, with masks (N, T) or (N) as in a Dataset; steps are averaged. labels (N).
/// Errors: std::invalid_argument for shapes that do not fit, numbers that are not finite, a sample without a label or a
/// modality, a single class, and fewer things than folds.
TRINE_API Advice advise(const Features& features, const Features& masks, const std::vector<std::string>& labels,
                        const AdviseOptions& options = {});

}  // namespace trine::train
