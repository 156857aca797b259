#include "input/detail/ffmpeg.h"

#include <optional>
#include <string_view>

#include "input/detail/container.h"
#include "input/detail/sound_track.h"

namespace trine::detail {

namespace {

/// Frames one after the other and nothing else: tags and joints between them are common, and players pass over them.
bool is_frame_stream(std::string_view demuxer) { return demuxer == "mp3" || demuxer == "aac"; }

/// A file opened up to its sound's decoder.
class Recording {
 public:
  Recording(Bytes file, const char* demuxer, MonoSink& sink)
      : sink_(sink), container_({.memory = file}, demuxer, kSoundDecoders) {
    chosen_ = container_.find(AVMEDIA_TYPE_AUDIO, [](const AVStream&) { return true; });
    if (chosen_ < 0) throw Refused{"it has no sound track"};
    AVFormatContext& format = container_.format();
    for (unsigned i = 0; i < format.nb_streams; ++i) {
      if (static_cast<int>(i) != chosen_) format.streams[i]->discard = AVDISCARD_ALL;
    }
    track_.emplace(container_.stream(chosen_), is_frame_stream(demuxer), sink);
  }

  void decode() {
    const Media<AVPacket> packet = new_packet();
    while (container_.read(*packet)) {
      if (packet->stream_index == chosen_) track_->decode(packet.get());
      av_packet_unref(packet.get());
    }
    track_->decode(nullptr);
    if (!sink_.started() && track_->damage() != 0) {
      throw Refused{"its sound does not decode: " + reason(track_->damage())};
    }
  }

 private:
  MonoSink& sink_;
  Container container_;
  int chosen_ = -1;
  std::optional<SoundTrack> track_;
};

/// The sink's sentence for what is refused without one.
template <typename Action>
void named(const MonoSink& sink, const Action& action) {
  try {
    action();
  } catch (const Refused& refused) {
    sink.refuse(refused.why);
  }
}

}  // namespace

void check_with_ffmpeg(Bytes file, const char* demuxer, MonoSink& sink) {
  named(sink, [&] { Recording(file, demuxer, sink); });
}

void decode_with_ffmpeg(Bytes file, const char* demuxer, MonoSink& sink) {
  named(sink, [&] { Recording(file, demuxer, sink).decode(); });
}

}  // namespace trine::detail
