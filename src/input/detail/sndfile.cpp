#include "input/detail/sndfile.h"

#include <sndfile.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "input/detail/mono_sink.h"

namespace trine::detail {

namespace {

using namespace std::string_view_literals;

constexpr std::size_t kBlockSamples = 65'536;  // read at once, all channels together
constexpr std::size_t kMaxData = 0xFFFF'FF00;  // bytes, what a RIFF header can say

// WAVE format tags (RFC 2361) and the tail that makes a sub-format GUID out of one.
constexpr unsigned kPcm = 1;
constexpr unsigned kFloat = 3;
constexpr unsigned kALaw = 6;
constexpr unsigned kMuLaw = 7;
constexpr unsigned kExtensible = 0xFFFE;
constexpr std::string_view kGuidTail = "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"sv;

std::string_view text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::uint32_t little_endian(Bytes bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(bytes[i]);
  return value;
}

void append(std::vector<std::byte>& out, std::string_view bytes) {
  for (const char c : bytes) out.push_back(static_cast<std::byte>(c));
}

void append(std::vector<std::byte>& out, std::size_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<std::byte>(value >> shift));
}

/// Content of a fmt chunk that names samples, not a block codec.
bool is_plain(Bytes fmt) {
  if (fmt.size() < 16) return false;
  unsigned tag = little_endian(fmt.first(2));
  if (tag == kExtensible) {
    if (fmt.size() < 40 || text(fmt.subspan(26, 14)) != kGuidTail) return false;
    tag = little_endian(fmt.subspan(24, 2));
  }
  return tag == kPcm || tag == kFloat || tag == kALaw || tag == kMuLaw;
}

/// Two pieces of memory that read as one file.
struct Source {
  Bytes head;
  Bytes body;
  std::size_t position = 0;

  std::size_t size() const { return head.size() + body.size(); }
};

sf_count_t length(void* user) { return static_cast<sf_count_t>(static_cast<Source*>(user)->size()); }

sf_count_t tell(void* user) { return static_cast<sf_count_t>(static_cast<Source*>(user)->position); }

sf_count_t seek(sf_count_t offset, int whence, void* user) {
  auto& source = *static_cast<Source*>(user);
  const auto size = static_cast<sf_count_t>(source.size());
  const sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? tell(user) : size;
  if (offset < -base || offset > size - base) return -1;
  source.position = static_cast<std::size_t>(base + offset);
  return base + offset;
}

sf_count_t read(void* out, sf_count_t count, void* user) {
  auto& source = *static_cast<Source*>(user);
  std::size_t done = 0;
  while (done < static_cast<std::size_t>(std::max<sf_count_t>(count, 0)) && source.position < source.size()) {
    const bool in_head = source.position < source.head.size();
    const Bytes rest =
        in_head ? source.head.subspan(source.position) : source.body.subspan(source.position - source.head.size());
    const std::size_t part = std::min(rest.size(), static_cast<std::size_t>(count) - done);
    std::memcpy(static_cast<std::byte*>(out) + done, rest.data(), part);
    done += part;
    source.position += part;
  }
  return static_cast<sf_count_t>(done);
}

bool is_wanted(int found, SndfileFormat wanted) {
  const int major = found & SF_FORMAT_TYPEMASK;
  switch (wanted) {
    case SndfileFormat::kWave:
      return major == SF_FORMAT_WAV || major == SF_FORMAT_WAVEX;
    case SndfileFormat::kFlac:
      return major == SF_FORMAT_FLAC;
    case SndfileFormat::kOgg:
      return major == SF_FORMAT_OGG || major == SF_FORMAT_FLAC;
  }
  return false;
}

}  // namespace

std::optional<PlainWave> plain_wave(Bytes file) {
  Bytes fmt;
  for (std::size_t at = 12; file.size() - at > 8;) {  // after "RIFF", size, "WAVE"
    const std::string_view id = text(file.subspan(at, 4));
    const std::size_t claimed = little_endian(file.subspan(at + 4, 4));
    const Bytes content = file.subspan(at + 8);
    const Bytes chunk = content.first(std::min(claimed, content.size()));
    if (id == "fmt "sv && fmt.empty()) {
      if (!is_plain(chunk)) return std::nullopt;
      fmt = chunk.first(std::min<std::size_t>(chunk.size() & ~std::size_t{1}, 40));
    } else if (id == "data"sv) {
      if (fmt.empty()) return std::nullopt;
      // A recorder that could not go back to its header leaves sizes of 0.
      const bool unfinished = claimed == 0 && little_endian(file.subspan(4, 4)) <= 8;
      const Bytes data = unfinished ? content.first(std::min(content.size(), kMaxData)) : chunk;
      PlainWave wave{{}, data};
      append(wave.header, "RIFF"sv);
      append(wave.header, 4 + 8 + fmt.size() + 8 + data.size());
      append(wave.header, "WAVEfmt "sv);
      append(wave.header, fmt.size());
      wave.header.insert(wave.header.end(), fmt.begin(), fmt.end());
      append(wave.header, "data"sv);
      append(wave.header, data.size());
      return wave;
    }
    const std::size_t padded = chunk.size() + (claimed & 1);
    if (padded >= content.size()) break;
    at += 8 + padded;
  }
  return std::nullopt;
}

bool decode_with_sndfile(Bytes head, Bytes body, SndfileFormat format, MonoSink& sink) {
  Source source{head, body};
  SF_VIRTUAL_IO io{length, seek, read, nullptr, tell};
  SF_INFO info{};
  const std::unique_ptr<SNDFILE, decltype(&sf_close)> file(sf_open_virtual(&io, SFM_READ, &info, &source), sf_close);
  if (!file || !is_wanted(info.format, format)) return false;
  sink.start(info.samplerate, info.channels);
  const std::size_t block_frames = std::max<std::size_t>(kBlockSamples / static_cast<std::size_t>(info.channels), 1);
  std::vector<float> block(block_frames * static_cast<std::size_t>(info.channels));
  for (;;) {
    const sf_count_t got = sf_readf_float(file.get(), block.data(), static_cast<sf_count_t>(block_frames));
    if (got <= 0) return true;
    sink.push(std::span(block).first(static_cast<std::size_t>(got * info.channels)), info.channels);
  }
}

}  // namespace trine::detail
