#pragma once

#include <torch/torch.h>

#include <span>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/input/modality.h"

/// From what a caller holds to features, for the embedder and the classifiers alike.

namespace trine::detail {

/// The pixels, those given refused where their number does not fit. `draft_side`: see ImageOptions.
Image pixels_of(const char* who, const ImageInput& input, std::int64_t draft_side = 0);

/// Pictures as they enter the encoder, made ready side by side. `draft`: see EmbedOptions.
std::vector<torch::Tensor> preprocess_images(const char* who, const ImageEncoder& encoder,
                                             std::span<const ImageInput> images, bool draft = false);

/// What that gives through the encoder: pictures of one size go together. Memory grows with their number. -> (N, dim)
torch::Tensor encode_pixels(const ImageEncoder& encoder, const std::vector<torch::Tensor>& pixels);

/// Both, one after the other. -> (N, dim)
torch::Tensor encode_images(const char* who, const ImageEncoder& encoder, std::span<const ImageInput> images);

}  // namespace trine::detail
