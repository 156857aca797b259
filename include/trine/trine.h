#pragma once

/// All of Trine, in the order a file goes through it.

// 1. a file becomes samples
#include "trine/input/audio.h"
#include "trine/input/encode_image.h"
#include "trine/input/image.h"
#include "trine/input/modality.h"
#include "trine/input/subtitles.h"
#include "trine/input/text.h"
#include "trine/input/video.h"

// 2. samples become features
#include "trine/checkpoint.h"
#include "trine/layers.h"

#include "trine/encoders/ast.h"
#include "trine/encoders/bert.h"
#include "trine/encoders/clap.h"
#include "trine/encoders/classifier.h"
#include "trine/encoders/clip.h"
#include "trine/encoders/dinov2.h"
#include "trine/encoders/distilbert.h"
#include "trine/encoders/efficientnet.h"
#include "trine/encoders/encoder.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/imagebind.h"
#include "trine/encoders/modernbert.h"
#include "trine/encoders/mpnet.h"
#include "trine/encoders/open_clip.h"
#include "trine/encoders/pe_audio.h"
#include "trine/encoders/pe_audio_video.h"
#include "trine/encoders/pe_transformer.h"
#include "trine/encoders/pe_video.h"
#include "trine/encoders/preprocess.h"
#include "trine/encoders/roberta.h"
#include "trine/encoders/siglip.h"
#include "trine/encoders/transcriber.h"
#include "trine/encoders/transformer.h"
#include "trine/encoders/video.h"
#include "trine/encoders/vit.h"
#include "trine/encoders/vit_pe.h"
#include "trine/encoders/wav2vec2.h"
#include "trine/encoders/whisper.h"
#include "trine/encoders/whisper_decoder.h"

// 3. features enter the shared space
#include "trine/embedder.h"
#include "trine/heads.h"

// 4. vectors meet
#include "trine/attention.h"
#include "trine/fusion.h"
#include "trine/search/filter.h"
#include "trine/search/index.h"
#include "trine/search/query.h"
#include "trine/search/rerank.h"

// 5. a person gets something
#include "trine/adaptive.h"
#include "trine/apps/catalogue.h"
#include "trine/apps/chat.h"
#include "trine/apps/damage.h"
#include "trine/apps/emotion.h"
#include "trine/apps/hearing.h"
#include "trine/apps/intent.h"
#include "trine/apps/product_search.h"
#include "trine/apps/reply.h"
#include "trine/apps/score.h"
#include "trine/apps/sound.h"
#include "trine/apps/support_agent.h"
#include "trine/apps/video_search.h"
#include "trine/apps/video_understanding.h"

// beside: heads and fusion are learned
#include "trine/train/advise.h"
#include "trine/train/dataset.h"
#include "trine/train/fit.h"
#include "trine/train/loss.h"
#include "trine/train/sampler.h"
#include "trine/train/statistics.h"
#include "trine/train/task_model.h"
#include "trine/train/trainer.h"
