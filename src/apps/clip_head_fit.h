#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trine/embedder.h"
#include "trine/export.h"

/// Heads for clips that learn from labelled ones: multinomial logistic regression on standardised ClipFeatures of one
/// block. Block and penalty are chosen on clips that the head did not learn from.

namespace trine::detail {

/// N labelled clips.
struct ClipLesson {
  std::vector<std::string> labels;      ///< (L), sorted
  std::vector<torch::Tensor> features;  ///< of each block, from the first: (N, dim)
  torch::Tensor truth;                  ///< (N) int64: places in `labels`
  torch::Tensor groups;                 ///< (N) int64: the speaker, or the fold, from 0
};

struct ClipLabel {
  AudioInput clip;
  std::string label;
  std::string group;
};

/// With the Whisper encoder of a model's audio tower. `progress`: clips that are done.
TRINE_API ClipLesson lesson_of(const char* who, const Embedder& embedder, const std::vector<ClipLabel>& clips,
                               const std::function<void(std::int64_t done)>& progress = {});

/// 0 to the last one.
TRINE_API std::vector<std::int64_t> groups_of(const ClipLesson& lesson);

struct ClipChoice {
  std::int64_t block = 1;
  double penalty = 0;  ///< on half the squared weights
};

/// For features as they are, before they are standardised.
struct FittedClipHead {
  torch::Tensor weight;  ///< (L, dim)
  torch::Tensor bias;    ///< (L)
};

/// Learns from the clips of these groups.
TRINE_API FittedClipHead fit_clip_head(const ClipLesson& lesson, ClipChoice choice,
                                       const std::vector<std::int64_t>& groups);

/// Clips of these groups, in their order. -> (M) int64
TRINE_API torch::Tensor rows_of(const ClipLesson& lesson, const std::vector<std::int64_t>& groups);

/// Of the clips of `judged` by a head that learned from those of `learned`. -> (M, L)
TRINE_API torch::Tensor clip_logits(const ClipLesson& lesson, ClipChoice choice,
                                    const std::vector<std::int64_t>& learned, const std::vector<std::int64_t>& judged);

/// Of the clips of `groups`, each group by a head that learned from the others. -> (M, L)
TRINE_API torch::Tensor held_out_logits(const ClipLesson& lesson, ClipChoice choice,
                                        const std::vector<std::int64_t>& groups);

/// The choice whose logits have the best mean recall of the labels; of equals the likeliest. truth (M) int64
TRINE_API ClipChoice best_choice(const ClipLesson& lesson, const torch::Tensor& truth,
                                 const std::function<torch::Tensor(ClipChoice)>& logits_of);

/// Of all clips, each group by a head whose choice and weights come from the other groups alone. -> (N, L)
/// At least three groups are wanted. `progress`: groups that are done.
TRINE_API torch::Tensor nested_logits(const ClipLesson& lesson,
                                      const std::function<void(std::int64_t done)>& progress = {});

/// The factor at which the truth is likeliest.
TRINE_API double best_scale(const torch::Tensor& logits, const torch::Tensor& truth);

}  // namespace trine::detail
