#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl/filesystem.h>
#include <torch/extension.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "trine/input/audio.h"
#include "trine/input/image.h"
#include "trine/input/modality.h"
#include "trine/search/query.h"

namespace trine::python {

namespace py = pybind11;

/// The bytes of a file in memory; they stay where they are without the interpreter's lock.
inline std::span<const std::byte> bytes_of(const py::bytes& file) {
  return std::as_bytes(std::span(std::string_view(file)));
}

/// A copy of them, for what outlives the call.
inline std::vector<std::byte> copy_of(const py::bytes& file) {
  const auto bytes = bytes_of(file);
  return {bytes.begin(), bytes.end()};
}

/// Lets Ctrl-C end work that goes on without the interpreter's lock.
inline void check_signals() {
  const py::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

/// From such work: calls `call` unless `progress` is None.
inline void tell(const py::object& progress, const std::function<void()>& call) {
  const py::gil_scoped_acquire locked;
  check_signals();
  if (!progress.is_none()) call();
}

/// The progress of such work for Python's `progress(done, total)`, which must outlive it.
inline std::function<void(std::int64_t, std::int64_t)> reporter(const py::object& progress) {
  return [&progress](std::int64_t done, std::int64_t total) { tell(progress, [&] { progress(done, total); }); };
}

// One per theme, in the order of the data's way.
void bind_input(py::module_& m);
void bind_encoders(py::module_& m);
void bind_classifier(py::module_& m);
void bind_transcriber(py::module_& m);
void bind_embedder(py::module_& m);
void bind_fusion(py::module_& m);
void bind_search(py::module_& m);
void bind_apps(py::module_& m);
void bind_hearing(py::module_& m);
void bind_emotion(py::module_& m);
void bind_damage(py::module_& m);
void bind_intent(py::module_& m);
void bind_support(py::module_& m);
void bind_video(py::module_& m);
void bind_adaptive(py::module_& m);
void bind_train(py::module_& m);
void bind_advise(py::module_& m);

/// Work that needs no Python object runs without the interpreter's lock.
using NoGil = py::call_guard<py::gil_scoped_release>;

/// Numbers of any real type, as contiguous floats.
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

/// UTF-8 of a str; UnicodeEncodeError (a ValueError) for a lone surrogate.
inline std::string utf8(const py::str& text) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (!data) throw py::error_already_set();
  return {data, static_cast<std::size_t>(size)};
}

/// What learned modules have in common; `trine._module.Module` makes a torch.nn.Module of it.
template <typename Module>
py::class_<Module, std::shared_ptr<Module>> bind_learned(py::module_& m, const char* name) {
  return py::class_<Module, std::shared_ptr<Module>>(m, name)
      .def("parameters", [](const Module& self) { return self.named_parameters().pairs(); })
      .def("train", [](Module& self, bool on) { self.train(on); })
      .def("save", &Module::save, NoGil())
      .def_static("load", &Module::load, NoGil());
}

}  // namespace trine::python

namespace pybind11::detail {

/// An array of these very numbers, which nothing copies.
template <typename T, std::size_t N>
array_t<T> own(std::vector<T> numbers, const std::array<ssize_t, N>& shape) {
  auto owner = std::make_unique<std::vector<T>>(std::move(numbers));
  const T* data = owner->data();
  const capsule release(owner.get(), [](void* it) { delete static_cast<std::vector<T>*>(it); });
  owner.release();
  return array_t<T>(shape, data, release);
}

/// Pixels: an array of uint8 (H, W, 3).
template <>
struct type_caster<trine::Image> {
  PYBIND11_TYPE_CASTER(trine::Image, const_name("numpy.ndarray"));

  bool load(handle source, bool) {
    if (!array_t<std::uint8_t>::check_(source)) return false;
    const auto pixels = array_t<std::uint8_t, array::c_style>::ensure(source);
    if (!pixels || pixels.ndim() != 3 || pixels.shape(2) != 3) return false;
    if (std::max(pixels.shape(0), pixels.shape(1)) > std::numeric_limits<int>::max()) return false;
    value.height = static_cast<int>(pixels.shape(0));
    value.width = static_cast<int>(pixels.shape(1));
    value.pixels.assign(pixels.data(), pixels.data() + pixels.size());
    return true;
  }

  static handle cast(trine::Image image, return_value_policy, handle) {
    const std::array<ssize_t, 3> shape{image.height, image.width, 3};
    return own(std::move(image.pixels), shape).release();
  }
};

/// A path, the bytes of a file, or pixels.
template <>
struct type_caster<trine::ImageInput> {
  PYBIND11_TYPE_CASTER(trine::ImageInput, const_name("os.PathLike | bytes | numpy.ndarray"));

  bool load(handle source, bool convert) {
    if (isinstance<bytes>(source)) {  // which the caster of paths would take
      value = trine::python::copy_of(reinterpret_borrow<bytes>(source));
      return true;
    }
    return take<trine::Image>(source, convert) || take<std::filesystem::path>(source, convert);
  }

 private:
  template <typename T>
  bool take(handle source, bool convert) {
    make_caster<T> caster;
    if (!caster.load(source, convert)) return false;
    value = cast_op<T&&>(std::move(caster));
    return true;
  }
};

/// A clip: (samples, sample_rate) with float32 samples (n).
template <>
struct type_caster<trine::Audio> {
  PYBIND11_TYPE_CASTER(trine::Audio, const_name("tuple[numpy.ndarray, int]"));

  bool load(handle source, bool) {
    if (!isinstance<tuple>(source)) return false;
    const auto pair = reinterpret_borrow<tuple>(source);
    if (pair.size() != 2 || !array_t<float>::check_(pair[0]) || !isinstance<int_>(pair[1])) return false;
    const auto samples = array_t<float, array::c_style>::ensure(pair[0]);
    if (!samples || samples.ndim() != 1) return false;
    value.sample_rate = pair[1].cast<int>();
    value.samples.assign(samples.data(), samples.data() + samples.size());
    return true;
  }

  static handle cast(trine::Audio audio, return_value_policy, handle) {
    const std::array<ssize_t, 1> shape{std::ssize(audio.samples)};
    return make_tuple(own(std::move(audio.samples), shape), audio.sample_rate).release();
  }
};

/// A modality: its name.
template <>
struct type_caster<trine::Modality> {
  PYBIND11_TYPE_CASTER(trine::Modality, const_name("str"));

  bool load(handle source, bool) {
    if (!isinstance<str>(source)) return false;
    value = trine::modality(trine::python::utf8(reinterpret_borrow<str>(source)));
    return true;
  }

  static handle cast(trine::Modality modality, return_value_policy, handle) {
    return str(std::string(trine::to_string(modality))).release();
  }
};

/// Weights by modality: a dict, in which those left out keep their default.
template <>
struct type_caster<trine::QueryWeights> {
  PYBIND11_TYPE_CASTER(trine::QueryWeights, const_name("dict[str, float]"));

  bool load(handle source, bool) {
    if (!isinstance<dict>(source)) return false;
    for (const auto& [key, weight] : reinterpret_borrow<dict>(source)) {
      const auto m = key.cast<trine::Modality>();
      (m == trine::Modality::image  ? value.image
       : m == trine::Modality::text ? value.text
                                    : value.audio) = weight.cast<float>();
    }
    return true;
  }
};

}  // namespace pybind11::detail
