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

/// A picture as it enters the encoder -> (3, H, W). `draft`: see EmbedOptions.
torch::Tensor preprocess_image(const char* who, const ImageEncoder& encoder, const ImageInput& image,
                               bool draft = false);

/// The same of several, made ready side by side.
std::vector<torch::Tensor> preprocess_images(const char* who, const ImageEncoder& encoder,
                                             std::span<const ImageInput> images, bool draft = false);

/// What that gives through the encoder: pictures of one size go together. Memory grows with their number. -> (N, dim)
torch::Tensor encode_pixels(const ImageEncoder& encoder, const std::vector<torch::Tensor>& pixels);

/// Both, one after the other. -> (N, dim)
torch::Tensor encode_images(const char* who, const ImageEncoder& encoder, std::span<const ImageInput> images);

}  // namespace trine::detail
