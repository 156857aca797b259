#include "trine/input/video.h"

#include "trine/apps/video_search.h"

#include "module.h"

namespace trine::python {
namespace {

py::dict to_dict(const Subtitle& subtitle) {
  return py::dict(py::arg("start") = subtitle.start, py::arg("end") = subtitle.end, py::arg("text") = subtitle.text);
}

py::dict to_dict(const Moment& moment) {
  return py::dict(py::arg("start") = moment.start, py::arg("end") = moment.end, py::arg("best") = moment.best,
                  py::arg("score") = moment.score, py::arg("seen") = moment.seen, py::arg("heard") = moment.heard,
                  py::arg("read") = moment.read, py::arg("together") = moment.together,
                  py::arg("subtitle") = moment.subtitle);
}

/// A file, or its bytes in memory.
Video decode(const py::object& source, const VideoOptions& options) {
  if (py::isinstance<py::bytes>(source)) {
    const auto file = bytes_of(py::reinterpret_borrow<py::bytes>(source));
    const py::gil_scoped_release unlocked;
    return decode_video(file, options);
  }
  const auto path = source.cast<std::filesystem::path>();
  const py::gil_scoped_release unlocked;
  return read_video(path, options);
}

void bind_reading(py::module_& m) {
  py::class_<Subtitle>(m, "Subtitle", "What is written under a video for a while, as plain text on one line.")
      .def_readonly("start", &Subtitle::start, "Where it appears, in seconds.")
      .def_readonly("end", &Subtitle::end, "Where it leaves, in seconds.")
      .def_readonly("text", &Subtitle::text, "What it says.")
      .def(
          "to_dict", [](const Subtitle& subtitle) { return to_dict(subtitle); }, "The same as a dict.")
      .def("__repr__", [](const Subtitle& self) {
        return py::str("Subtitle({:.2f}, {:.2f}, {!r})").format(self.start, self.end, self.text);
      });

  py::class_<VideoFrame>(m, "VideoFrame", "What is on screen at a moment.")
      .def_readonly("time", &VideoFrame::time, "Seconds from the beginning of the file.")
      .def_property_readonly(
          "image", [](const VideoFrame& frame) { return frame.image; }, "uint8 (H, W, 3)")
      .def("__repr__", [](const VideoFrame& self) {
        return py::str("VideoFrame({:.2f} s, {} x {})").format(self.time, self.image.width, self.image.height);
      });

  py::class_<Video>(m, "Video", "A decoded video.")
      .def_readonly("container", &Video::container, "'MP4, MOV or 3GP', 'Matroska or WebM' ...")
      .def_readonly("codec", &Video::codec, "Of the pictures, as FFmpeg calls it: 'h264'.")
      .def_readonly("seconds", &Video::seconds, "Until the last frame leaves the screen.")
      .def_readonly("frames", &Video::frames, "In the order of their times.")
      .def_property_readonly(
          "sound",
          [](const Video& video) -> py::object {
            return video.sound.samples.empty() ? py::object(py::none()) : py::cast(video.sound);
          },
          "(samples, rate), mono, from second 0 on; None where there is none.")
      .def_readonly("subtitles", &Video::subtitles, "That lie inside the file.")
      .def_readonly("notes", &Video::notes, "Sentences on what is missing or damaged.")
      .def("__repr__", [](const Video& self) {
        return py::str("Video({}, {}, {:.2f} s, {} frames)")
            .format(self.container, self.codec, self.seconds, self.frames.size());
      });

  m.def("read_video",
        [](const py::object& source, double rate, std::int64_t frames, bool sound, bool subtitles, int sample_rate) {
          return decode(source, {.frames_per_second = rate,
                                 .frames = frames,
                                 .sound = sound,
                                 .subtitles = subtitles,
                                 .sample_rate = sample_rate});
        });
  m.def("read_subtitles", &read_subtitles, NoGil());
}

void bind_search_in(py::module_& m) {
  py::class_<Moment>(m, "Moment", "A stretch of a video that fits a text.")
      .def_readonly("start", &Moment::start, "Where it begins, in seconds.")
      .def_readonly("end", &Moment::end, "Where it ends, in seconds.")
      .def_readonly("best", &Moment::best, "The time that fits best.")
      .def_readonly("frame", &Moment::frame, "Its place in WatchedVideo.times.")
      .def_readonly("score", &Moment::score, "In [0, 1]: how much more than everyday things the text fits there.")
      .def_readonly("seen", &Moment::seen, "The same of the picture alone.")
      .def_readonly("heard", &Moment::heard, "Of the sound.")
      .def_readonly("read", &Moment::read, "Of the subtitles.")
      .def_readonly("together", &Moment::together, "Of all three in time, by the temporal model; 0 without one.")
      .def_readonly("subtitle", &Moment::subtitle, "What is written there.")
      .def("reasons", &Moment::reasons, "'seen 0.93, read 0.41'")
      .def(
          "to_dict", [](const Moment& moment) { return to_dict(moment); }, "The same as a dict that json.dumps takes.")
      .def("__repr__", [](const Moment& self) {
        return py::str("Moment({:.2f}, {:.2f}, score={:.3f})").format(self.start, self.end, self.score);
      });

  py::class_<WatchedVideo>(m, "WatchedVideo", "A video as vectors: what is seen, heard and written at each of T times.")
      .def_readonly("name", &WatchedVideo::name, "The file.")
      .def_readonly("seconds", &WatchedVideo::seconds, "Its length.")
      .def_readonly("step", &WatchedVideo::step, "Seconds from one time to the next.")
      .def_readonly("times", &WatchedVideo::times, "(T), seconds.")
      .def_readonly("frames", &WatchedVideo::frames, "(T, D), of unit length.")
      .def_readonly("sound", &WatchedVideo::sound, "(T, D), around each time; zeros in silence.")
      .def_readonly("subtitles", &WatchedVideo::subtitles, "(S), from inside the file, beside it, or written down.")
      .def_readonly("written", &WatchedVideo::written, "(S, D), the subtitles' vectors.")
      .def_readonly("vector", &WatchedVideo::vector, "(D), of unit length.")
      .def_readonly("importance", &WatchedVideo::importance, "(T), of each frame for the vector, summing to 1.")
      .def_property_readonly(
          "context",
          [](const WatchedVideo& video) {
            return video.context.defined() ? std::optional(video.context) : std::nullopt;
          },
          "(T, D), the frames around each time together, by the temporal model; None without one.")
      .def_readonly("thumbnails", &WatchedVideo::thumbnails, "(T), uint8 (H, W, 3), if they were asked for.")
      .def_readonly("notes", &WatchedVideo::notes, "Sentences on what was missing, cut or damaged.")
      .def("__len__", [](const WatchedVideo& self) { return self.times.size(); })
      .def("__repr__", [](const WatchedVideo& self) {
        return py::str("WatchedVideo({!r}, {:.1f} s, {} frames, {} subtitles)")
            .format(self.name, self.seconds, self.times.size(), self.subtitles.size());
      });

  py::class_<VideoSearch>(m, "VideoSearch")
      .def(py::init<Embedder>(), NoGil())
      .def(py::init<Embedder, std::shared_ptr<VideoUnderstandingImpl>>(), py::arg("embedder"),
           py::arg("temporal").none(true))
      .def("watch",
           [](const VideoSearch& self, const std::filesystem::path& video, double rate, std::int64_t frames,
              const std::optional<std::filesystem::path>& subtitles, const Transcriber* transcriber,
              int thumbnail_width, std::int64_t batch_size) {
             const py::gil_scoped_release unlocked;
             return self.watch(video, {.frames_per_second = rate,
                                       .frames = frames,
                                       .subtitles = subtitles,
                                       .transcriber = transcriber,
                                       .thumbnail_width = thumbnail_width,
                                       .batch_size = batch_size,
                                       .progress = [](double) { check_signals(); }});
           })
      .def(
          "find",
          [](const VideoSearch& self, const WatchedVideo& video, const std::string& text, std::int64_t k,
             float min_score) { return self.find(video, text, {.k = k, .min_score = min_score}); },
          NoGil())
      .def("scores", &VideoSearch::scores, NoGil())
      .def_property_readonly("has_temporal", &VideoSearch::has_temporal);
}

}  // namespace

void bind_video(py::module_& m) {
  bind_reading(m);
  bind_search_in(m);
}

}  // namespace trine::python
