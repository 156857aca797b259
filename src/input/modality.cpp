#include "trine/input/modality.h"

#include "detail/error.h"

namespace trine {

std::string_view to_string(Modality modality) {
  switch (modality) {
    case Modality::image:
      return "image";
    case Modality::text:
      return "text";
    case Modality::audio:
      return "audio";
  }
  return "unknown";
}

Modality modality(std::string_view name) {
  for (const Modality known : kModalities) {
    if (name == to_string(known)) return known;
  }
  detail::bad_argument("modality", "\"", name, "\" is no modality, known are image, text and audio");
}

}  // namespace trine
