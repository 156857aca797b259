#pragma once

#include <torch/torch.h>

#include <span>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/input/modality.h"

/// From what a caller holds to features, for the embedder and the classifiers alike.

namespace trine::detail {

/// The pixels, those given refused where their number does not fit.
Image pixels_of(const char* who, const ImageInput& input);

/// Pictures as they enter the encoder, made ready side by side.
std::vector<torch::Tensor> preprocess_images(const char* who, const ImageEncoder& encoder,
                                             std::span<const ImageInput> images);

/// Pictures through an encoder: those of one size go together through the network. Memory grows
/// with their number. -> (N, dim)
torch::Tensor encode_images(const char* who, const ImageEncoder& encoder, std::span<const ImageInput> images);

}  // namespace trine::detail
