#include "trine/input/audio.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

namespace fs = std::filesystem;
using trine::Audio;
using trine::AudioOptions;

const fs::path kGolden = fs::path(TRINE_TEST_DATA) / "golden/audio";

std::vector<std::byte> bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::vector<std::byte> bytes_of_text(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::vector<float> floats(const std::string& name) {
  const std::vector<std::byte> bytes = bytes_of(kGolden / name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Lines of a golden list without its comments.
std::vector<std::istringstream> lines_of(const std::string& name) {
  std::ifstream in(kGolden / name);
  EXPECT_TRUE(in) << name;
  std::vector<std::istringstream> lines;
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with('#')) lines.emplace_back(line);
  }
  return lines;
}

struct Clip {
  std::string file;
  int rate = 0;
  int channels = 0;
  double seconds = 0;
  int max_shift = 0;
  double min_correlation = 0;
  std::string expected;
};

std::vector<Clip> golden_clips() {
  std::vector<Clip> clips;
  for (std::istringstream& line : lines_of("clips.txt")) {
    Clip clip;
    line >> clip.file >> clip.rate >> clip.channels >> clip.seconds >> clip.max_shift >> clip.min_correlation >>
        clip.expected;
    EXPECT_TRUE(line) << clip.file;
    clips.push_back(clip);
  }
  return clips;
}

double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst;
}

/// Normalised correlation of `got`, moved back by `shift` samples, with `want`, over what both have.
double correlation(const std::vector<float>& got, const std::vector<float>& want, int shift) {
  double cross = 0;
  double energy_got = 1e-30;
  double energy_want = 1e-30;
  const auto skipped_got = static_cast<std::size_t>(std::max(shift, 0));
  const auto skipped_want = static_cast<std::size_t>(std::max(-shift, 0));
  for (std::size_t i = 0; i + skipped_want < want.size() && i + skipped_got < got.size(); ++i) {
    const double a = got[i + skipped_got];
    const double b = want[i + skipped_want];
    cross += a * b;
    energy_got += a * a;
    energy_want += b * b;
  }
  return cross / std::sqrt(energy_got * energy_want);
}

/// The sentence of the error that `run` throws; empty where it throws none.
template <typename Error>
std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

std::string decode_error(const std::vector<std::byte>& file, const AudioOptions& options = {}) {
  return error_of<std::runtime_error>([&] { trine::decode_audio(file, options); });
}

/// What hostile bytes may do: be refused with a sentence, or give finite samples.
void expect_refused_or_finite(std::span<const std::byte> file, const std::string& what) {
  try {
    const Audio audio = trine::decode_audio(file);
    ASSERT_FALSE(audio.samples.empty()) << what;
    ASSERT_TRUE(std::all_of(audio.samples.begin(), audio.samples.end(), [](float x) { return std::isfinite(x); }))
        << what;
  } catch (const std::runtime_error& error) {
    ASSERT_TRUE(std::string(error.what()).starts_with("[decode_audio] ")) << what << ": " << error.what();
  }
}

struct WaveHeader {
  unsigned tag = 1;
  unsigned channels = 1;
  std::uint32_t rate = 16'000;
  unsigned bits = 16;
  std::uint32_t claimed = 0;  ///< bytes the data chunk says it has; 0: what it has
};

template <typename T>
std::vector<std::byte> wave(const WaveHeader& header, const std::vector<T>& samples) {
  std::string out;
  const auto put = [&out](std::uint32_t value, int size) {
    for (int i = 0; i < size; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  };
  const auto size = static_cast<std::uint32_t>(samples.size() * sizeof(T));
  const std::uint32_t claimed = header.claimed == 0 ? size : header.claimed;
  out += "RIFF";
  put(36 + claimed, 4);
  out += "WAVEfmt ";
  put(16, 4);
  put(header.tag, 2);
  put(header.channels, 2);
  put(header.rate, 4);
  put(header.rate * header.channels * header.bits / 8, 4);
  put(header.channels * header.bits / 8, 2);
  put(header.bits, 2);
  out += "data";
  put(claimed, 4);
  out.append(reinterpret_cast<const char*>(samples.data()), size);
  return bytes_of_text(out);
}

// ---- decoding ----

TEST(DecodeAudio, EqualsTheReferenceInEveryFormat) {
  for (const Clip& clip : golden_clips()) {
    SCOPED_TRACE(clip.file);
    const Audio audio = trine::read_audio(kGolden / clip.file);
    EXPECT_EQ(audio.sample_rate, 16'000);
    const std::vector<float> want = floats(clip.expected);
    if (clip.min_correlation == 1) {
      EXPECT_LE(max_difference(audio.samples, want), 1e-6);
      continue;
    }
    double best = 0;
    for (int shift = -clip.max_shift; shift <= clip.max_shift; ++shift) {
      best = std::max(best, correlation(audio.samples, want, shift));
    }
    EXPECT_GE(best, clip.min_correlation);
    EXPECT_NEAR(*std::max_element(audio.samples.begin(), audio.samples.end()),
                *std::max_element(want.begin(), want.end()), 0.1);
    EXPECT_NEAR(audio.seconds(), clip.seconds, 0.1);
  }
}

TEST(DecodeAudio, KeepsTheRateOfTheFileWhereAsked) {
  for (const Clip& clip : golden_clips()) {
    SCOPED_TRACE(clip.file);
    const Audio audio = trine::read_audio(kGolden / clip.file, {.sample_rate = 0});
    EXPECT_EQ(audio.sample_rate, clip.rate);
    EXPECT_NEAR(audio.seconds(), clip.seconds, clip.min_correlation == 1 ? 1e-5 : 0.1);
  }
}

TEST(DecodeAudio, GivesTheSameFromSeveralThreads) {
  const std::vector<Clip> clips = golden_clips();
  std::vector<std::vector<Audio>> results(3);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (const Clip& clip : clips) result.push_back(trine::read_audio(kGolden / clip.file));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < clips.size(); ++i) {
    EXPECT_EQ(results[0][i].samples, results[1][i].samples) << clips[i].file;
    EXPECT_EQ(results[0][i].samples, results[2][i].samples) << clips[i].file;
  }
}

TEST(DecodeAudio, ReadsOneSampleAndSilence) {
  const Audio one = trine::decode_audio(wave<std::int16_t>({}, {16'384}));
  EXPECT_EQ(one.samples, std::vector<float>{0.5F});
  const Audio shorter = trine::decode_audio(wave<std::int16_t>({.rate = 768'000}, {16'384}));
  EXPECT_EQ(shorter.samples, std::vector<float>{0.5F});
  const Audio silence = trine::decode_audio(wave({.rate = 44'100}, std::vector<std::int16_t>(4410)));
  EXPECT_EQ(silence.samples, std::vector<float>(1600));
  const trine::Spectrogram mel = trine::whisper_mel(silence.samples);
  for (const float value : mel.values) EXPECT_FLOAT_EQ(value, -1.5F);
}

TEST(DecodeAudio, PassesOverChunksItDoesNotNeed) {
  std::vector<std::byte> file = wave<std::int16_t>({}, {8192, -8192});
  const std::vector<std::byte> list = bytes_of_text(std::string("LIST\x03\0\0\0abc\0", 12));
  file.insert(file.begin() + 12, list.begin(), list.end());
  file.insert(file.end(), list.begin(), list.end());
  EXPECT_EQ(trine::decode_audio(file).samples, (std::vector<float>{0.25F, -0.25F}));
  const std::vector<std::byte> tag = bytes_of_text(std::string("ID3\x04\0\0\0\0\0\x05hello", 15));
  file.insert(file.begin(), tag.begin(), tag.end());
  EXPECT_EQ(trine::decode_audio(file).samples, (std::vector<float>{0.25F, -0.25F}));
}

TEST(DecodeAudio, KeepsSamplesBeyondFullScale) {
  EXPECT_EQ(trine::decode_audio(wave<float>({.tag = 3, .bits = 32}, {3.5F, -2})).samples,
            (std::vector<float>{3.5F, -2}));
}

// ---- refusals ----

TEST(ReadAudio, SaysWhatIsMissing) {
  EXPECT_THROW(trine::read_audio(kGolden / "absent.wav"), std::system_error);
  EXPECT_THROW(trine::read_audio(kGolden), std::runtime_error);
  EXPECT_NE(error_of<std::runtime_error>([] { trine::read_audio(kGolden / "clips.txt"); }).find("clips.txt"),
            std::string::npos);
}

TEST(DecodeAudio, RefusesWhatIsNoSound) {
  EXPECT_NE(decode_error({}).find("empty"), std::string::npos);
  EXPECT_NE(decode_error(bytes_of_text("\x89PNG\r\n\x1a\n0000")).find("a PNG picture"), std::string::npos);
  EXPECT_NE(decode_error(bytes_of_text("MThd\0\0")).find("MIDI"), std::string::npos);
  EXPECT_NE(decode_error(bytes_of_text("hello, this is text")).find("68 65 6c 6c 6f"), std::string::npos);
  EXPECT_NE(decode_error(bytes_of_text("\xff\xfeh\1e\1l\1l\1o\1")), "");
  EXPECT_NE(decode_error(bytes_of_text("ID3")), "");
  for (std::size_t size = 1; size < 64; ++size) {
    EXPECT_NE(decode_error(std::vector<std::byte>(size)), "");                   // headerless zeros
    EXPECT_NE(decode_error(std::vector<std::byte>(size, std::byte{0x80})), "");  // or 8-bit silence
  }
}

TEST(DecodeAudio, OpensNoOtherFile) {
  const fs::path other = kGolden / "pcm16_16000.wav";
  EXPECT_NE(decode_error(bytes_of_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + other.string() + "\n"))
                .find("playlist"),
            std::string::npos);
  EXPECT_NE(decode_error(bytes_of_text("ffconcat version 1.0\nfile '" + other.string() + "'\n")).find("playlist"),
            std::string::npos);
  EXPECT_NE(decode_error(bytes_of_text("\n#EXTM3U\n" + other.string() + "\n")), "");
  EXPECT_NE(decode_error(bytes_of_text(other.string())), "");
}

TEST(DecodeAudio, RefusesSamplesThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    EXPECT_NE(decode_error(wave<float>({.tag = 3, .bits = 32}, {0.5F, bad, 0})).find("sample 1 is NaN or infinite"),
              std::string::npos);
  }
  EXPECT_NE(decode_error(wave<double>({.tag = 3, .bits = 64}, {1e300})), "");
  const std::vector<float> loud(1000, std::numeric_limits<float>::max());
  EXPECT_NE(decode_error(wave<float>({.tag = 3, .rate = 22'050, .bits = 32}, loud)).find("too large"),
            std::string::npos);
}

TEST(DecodeAudio, BelievesSamplesAndNotHeaders) {
  for (const std::uint32_t claimed : {0x7FFF'FFFEu, 0xFFFF'FF00u, 0xFFFF'FFFFu}) {  // 2 GiB, 37 hours, "unknown"
    EXPECT_EQ(trine::decode_audio(wave<std::int16_t>({.claimed = claimed}, {8192, 0, 8192})).samples.size(), 3u);
  }
  EXPECT_NE(decode_error(wave<std::int16_t>({}, {})).find("no samples"), std::string::npos);
  for (const std::uint32_t rate : {0u, 1u, 999u, 768'001u, 0x7FFF'FFFFu, 0xFFFF'FFFFu}) {
    EXPECT_NE(decode_error(wave<std::int16_t>({.rate = rate}, {1, 2, 3})), "") << rate;
  }
  for (const unsigned channels : {0u, 65u, 1024u, 65'535u}) {
    EXPECT_NE(decode_error(wave({.channels = channels}, std::vector<std::int16_t>(70'000))), "") << channels;
  }
  EXPECT_NE(decode_error(wave({.channels = 1024}, std::vector<std::int16_t>(4096))).find("it has 1024"),
            std::string::npos);
}

TEST(DecodeAudio, RefusesAdpcmInDisguise) {
  // A second fmt chunk must not turn a checked file into one of a block codec.
  std::vector<std::byte> file = bytes_of(kGolden / "adpcm_ima.wav");
  const std::vector<std::byte> plain = wave<std::int16_t>({}, {1});
  file.insert(file.begin() + 12, plain.begin() + 12, plain.begin() + 36);
  expect_refused_or_finite(file, "PCM before ADPCM");
  file[20] = std::byte{0x11};
  expect_refused_or_finite(file, "two ADPCM headers");
  std::vector<std::byte> unknown = plain;
  unknown[20] = std::byte{0x42};
  EXPECT_NE(decode_error(unknown).find("not read"), std::string::npos);
}

TEST(DecodeAudio, KeepsTheLimitsOfTheCaller) {
  const std::vector<std::byte> second = wave({}, std::vector<std::int16_t>(16'000));
  EXPECT_EQ(trine::decode_audio(second, {.max_seconds = 1}).samples.size(), 16'000u);
  EXPECT_NE(decode_error(second, {.max_seconds = 0.999}).find("longer than"), std::string::npos);
  EXPECT_NE(decode_error(second, {.min_sample_rate = 16'001}).find("16001"), std::string::npos);
  EXPECT_NE(decode_error(second, {.max_sample_rate = 15'999}).find("15999"), std::string::npos);
  EXPECT_NE(decode_error(second, {.max_bytes = 32'043}).find("32043"), std::string::npos);
  EXPECT_EQ(trine::decode_audio(second, {.max_bytes = 32'044}).samples.size(), 16'000u);
  EXPECT_NE(decode_error(bytes_of(kGolden / "aac.m4a"), {.max_channels = 1}).find("channels"), std::string::npos);
  EXPECT_NE(decode_error(bytes_of(kGolden / "aac.m4a"), {.max_seconds = 0.1}).find("longer than"), std::string::npos);
  EXPECT_NE(decode_error(bytes_of(kGolden / "mp3.mp3"), {.max_seconds = 0.1}).find("longer than"), std::string::npos);
  EXPECT_THROW(trine::read_audio(kGolden / "aac.m4a", {.max_bytes = 100}), std::runtime_error);
}

TEST(DecodeAudio, RefusesLimitsWithoutSense) {
  const std::vector<std::byte> file = wave<std::int16_t>({}, {1, 2, 3});
  for (const AudioOptions& options :
       {AudioOptions{.sample_rate = -1}, AudioOptions{.sample_rate = 768'001}, AudioOptions{.max_channels = 0},
        AudioOptions{.min_sample_rate = 0}, AudioOptions{.min_sample_rate = 50, .max_sample_rate = 49},
        AudioOptions{.max_sample_rate = 768'001}, AudioOptions{.max_seconds = 0},
        AudioOptions{.max_seconds = std::numeric_limits<double>::quiet_NaN()}}) {
    EXPECT_THROW(trine::decode_audio(file, options), std::invalid_argument);
  }
}

/// Every prefix of the small files; of the others every prefix of the header and a few hundred beyond.
TEST(DecodeAudio, SurvivesEveryTruncation) {
  for (const Clip& clip : golden_clips()) {
    const std::vector<std::byte> file = bytes_of(kGolden / clip.file);
    const std::size_t step = file.size() <= 3000 ? 1 : file.size() / 200;
    for (std::size_t size = 0; size < file.size(); size += size < 256 ? 1 : step) {
      // A copy of exactly that size, for the sanitizer to guard its end.
      const std::vector<std::byte> prefix(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
      ASSERT_NO_FATAL_FAILURE(expect_refused_or_finite(prefix, clip.file + " cut to " + std::to_string(size)));
    }
  }
}

TEST(DecodeAudio, SurvivesFlippedBytes) {
  std::mt19937 random(20);
  for (const Clip& clip : golden_clips()) {
    const std::vector<std::byte> file = bytes_of(kGolden / clip.file);
    for (int round = 0; round < 60; ++round) {
      std::vector<std::byte> flipped = file;
      const std::size_t range = round % 2 == 0 ? std::min<std::size_t>(file.size(), 200) : file.size();
      for (unsigned flips = 1 + random() % 8; flips > 0; --flips)
        flipped[random() % range] = static_cast<std::byte>(random());
      ASSERT_NO_FATAL_FAILURE(expect_refused_or_finite(flipped, clip.file + " round " + std::to_string(round)));
    }
  }
}

// ---- samples in memory ----

TEST(MakeAudio, MixesDownToTheMean) {
  const std::vector<float> samples = {1, 0, 0.5F, -0.5F, 0.25F, 0.75F};
  EXPECT_EQ(trine::make_audio(samples, 2, 16'000).samples, (std::vector<float>{0.5F, 0, 0.5F}));
  EXPECT_EQ(trine::make_audio(samples, 3, 16'000).samples, (std::vector<float>{0.5F, 1.0F / 6}));
  EXPECT_EQ(trine::make_audio(samples, 1, 16'000).samples, samples);
}

TEST(MakeAudio, ResamplesInPiecesAsAtOnce) {
  std::vector<float> samples(100'003);
  std::mt19937 random(4);
  for (float& sample : samples) sample = static_cast<float>(random()) / 4e9F - 0.5F;
  for (const int rate : {44'100, 16'001, 8'000, 768'000}) {
    EXPECT_EQ(trine::make_audio(samples, 1, rate).samples, trine::resample(samples, rate, 16'000)) << rate;
  }
}

TEST(MakeAudio, BlamesTheCaller) {
  const std::vector<float> samples = {0, 1, 2};
  EXPECT_THROW(trine::make_audio({}, 1, 16'000), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, 2, 16'000), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, 0, 16'000), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, -1, 16'000), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, 65, 16'000), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, 1, 0), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, 1, 768'001), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(samples, 1, 48'000, {.max_seconds = 1e-6}), std::invalid_argument);
  EXPECT_THROW(trine::make_audio(std::vector<float>{0, NAN}, 1, 16'000), std::invalid_argument);
}

// ---- resampling ----

TEST(Resample, EqualsSoxr) {
  const std::vector<float> noise = floats("noise.f32");
  for (std::istringstream& line : lines_of("resampled.txt")) {
    int from = 0;
    int to = 0;
    line >> from >> to;
    SCOPED_TRACE(std::to_string(from) + " to " + std::to_string(to));
    const std::vector<float> want = floats(std::to_string(from) + "_" + std::to_string(to) + ".f32");
    EXPECT_LE(max_difference(trine::resample(noise, from, to), want), 1e-6);
  }
}

TEST(Resample, CopiesAtEqualRates) {
  const std::vector<float> samples = {1, 2, 3};
  EXPECT_EQ(trine::resample(samples, 8000, 8000), samples);
  EXPECT_TRUE(trine::resample({}, 8000, 16'000).empty());
}

TEST(Resample, RefusesWhatHasNoEnd) {
  const std::vector<float> samples(1000, 0.5F);
  for (const int rate : {0, -1, 768'001, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    EXPECT_THROW(trine::resample(samples, rate, 16'000), std::invalid_argument) << rate;
    EXPECT_THROW(trine::resample(samples, 16'000, rate), std::invalid_argument) << rate;
  }
  EXPECT_THROW(trine::resample(samples, 1, 768'000), std::invalid_argument);
  EXPECT_THROW(trine::resample(std::vector<float>(40'000), 1, 16'000), std::invalid_argument);  // 2.4 GiB
  EXPECT_THROW(trine::resample(std::vector<float>{0, INFINITY}, 8000, 16'000), std::invalid_argument);
}

TEST(Resample, IsCheapAtAwkwardRates) {
  const std::vector<float> samples(20'000, 0.5F);
  for (const auto& [from, to] :
       {std::pair{16'001, 16'000}, {767'999, 768'000}, {768'000, 47}, {47, 768'000}, {768'000, 1000}}) {
    const std::span<const float> input = std::span(samples).first(from < 100 ? 100 : samples.size());
    const double want = static_cast<double>(input.size()) * to / from;
    EXPECT_NEAR(static_cast<double>(trine::resample(input, from, to).size()), want, 1) << from << " to " << to;
  }
}

// ---- mel ----

TEST(WhisperMel, EqualsTransformers) {
  for (std::istringstream& line : lines_of("mels.txt")) {
    std::string name;
    int bands = 0;
    int columns = 0;
    line >> name >> bands >> columns;
    SCOPED_TRACE(name + " " + std::to_string(bands));
    const trine::Spectrogram mel = trine::whisper_mel(floats("mel_" + name + ".f32"), bands);
    EXPECT_EQ(mel.rows, bands);
    EXPECT_EQ(mel.columns, columns);
    EXPECT_LE(max_difference(mel.values, floats("mel_" + name + "_" + std::to_string(bands) + ".f32")), 1e-4);
  }
}

TEST(WhisperMel, HasAColumnForEveryHop) {
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{200}, std::size_t{400}, std::size_t{480}, std::size_t{3199}}) {
    const trine::Spectrogram mel = trine::whisper_mel(std::vector<float>(size, 0.1F));
    EXPECT_EQ(mel.columns, static_cast<int>((size <= 200 ? 400 : size) / 160)) << size;
    EXPECT_EQ(mel.values.size(), 80u * static_cast<std::size_t>(mel.columns));
  }
}

TEST(WhisperMel, StaysFiniteForTheLoudestSamples) {
  const trine::Spectrogram mel = trine::whisper_mel(std::vector<float>(4000, std::numeric_limits<float>::max()), 128);
  for (const float value : mel.values) ASSERT_TRUE(std::isfinite(value));
}

TEST(WhisperMel, RefusesWhatItCannotUse) {
  const std::vector<float> samples(400);
  EXPECT_THROW(trine::whisper_mel({}), std::invalid_argument);
  for (const int bands : {0, -1, 257, std::numeric_limits<int>::max()}) {
    EXPECT_THROW(trine::whisper_mel(samples, bands), std::invalid_argument) << bands;
  }
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    EXPECT_THROW(trine::whisper_mel(std::vector<float>{0, bad, 0}), std::invalid_argument);
  }
}

trine::MelScale scale_of(const std::string& name) {
  return name == "slaney" ? trine::MelScale::slaney : name == "htk" ? trine::MelScale::htk : trine::MelScale::kaldi;
}

trine::MelWindow window_of(const std::string& name) {
  return name == "hann"    ? trine::MelWindow::hann
         : name == "povey" ? trine::MelWindow::povey
                           : trine::MelWindow::symmetric_hann;
}

trine::MelLog log_of(const std::string& name) {
  return name == "natural" ? trine::MelLog::natural : name == "common" ? trine::MelLog::common : trine::MelLog::decibel;
}

TEST(LogMel, EqualsTransformers) {
  const std::vector<float> clip = floats("spectrogram_clip.f32");
  int number = 0;
  for (std::istringstream& line : lines_of("spectrograms.txt")) {
    SCOPED_TRACE(line.str());
    std::size_t samples = 0;
    int columns = 0;
    std::string scale, shape, log;
    trine::MelOptions o;
    line >> samples >> o.sample_rate >> o.window >> o.hop >> o.transform >> o.bands >> o.low >> o.high >> scale >>
        o.equal_area >> shape >> o.centred >> o.remove_mean >> o.preemphasis >> o.floor >> log >> columns;
    ASSERT_TRUE(line);
    o.scale = scale_of(scale);
    o.shape = window_of(shape);
    o.log = log_of(log);
    const trine::Spectrogram mel = trine::log_mel(std::span(clip).first(samples), o);
    EXPECT_EQ(mel.rows, o.bands);
    EXPECT_EQ(mel.columns, columns);
    EXPECT_LE(max_difference(mel.values, floats("spectrogram_" + std::to_string(++number) + ".f32")), 1e-4);
  }
  EXPECT_EQ(number, 8);
}

TEST(LogMel, HasWholeFramesOrOneForEveryHop) {
  const std::vector<float> samples(1000, 0.1F);
  const auto columns = [&](std::size_t size, bool centred) {
    return trine::log_mel(std::span(samples).first(size), {.bands = 10, .centred = centred}).columns;
  };
  for (const std::size_t size : {std::size_t{400}, std::size_t{559}, std::size_t{560}, std::size_t{1000}}) {
    EXPECT_EQ(columns(size, false), static_cast<int>(1 + (size - 400) / 160)) << size;
    EXPECT_EQ(columns(size, true), static_cast<int>(1 + size / 160)) << size;
  }
  EXPECT_EQ(columns(1, true), 1);
}

TEST(LogMel, RefusesWhatItCannotUse) {
  const std::vector<float> samples(1000);
  const auto sentence = [&](const trine::MelOptions& options, std::size_t size = 1000) {
    return error_of<std::invalid_argument>([&] { trine::log_mel(std::span(samples).first(size), options); });
  };
  EXPECT_EQ(sentence({}), "");
  EXPECT_NE(sentence({}, 0).find("at least 1 sample"), std::string::npos);
  EXPECT_NE(sentence({}, 399).find("at least 400 samples"), std::string::npos);
  EXPECT_EQ(sentence({.centred = true}, 1), "");
  for (const auto& [part, options] : std::vector<std::pair<const char*, trine::MelOptions>>{
           {"sample_rate is 0", {.sample_rate = 0}},
           {"sample_rate is 768001", {.sample_rate = 768'001}},
           {"window is 513", {.window = 513}},
           {"window is -1", {.window = -1}},
           {"hop is 0", {.hop = 0}},
           {"transform is 511", {.transform = 511}},
           {"transform is 32768", {.transform = 32'768}},
           {"bands is 0", {.bands = 0}},
           {"bands is 1025", {.bands = 1'025}},
           {"low and high are -1", {.low = -1}},
           {"low and high are 20 and 20", {.high = 20}},
           {"low and high are nan", {.low = NAN}},
           {"low and high are 20 and inf", {.high = INFINITY}},
           {"preemphasis is 2", {.preemphasis = 2}},
           {"preemphasis is nan", {.preemphasis = NAN}},
           {"floor is 0", {.floor = 0}},
           {"floor is inf", {.floor = INFINITY}},
       }) {
    EXPECT_NE(sentence(options).find(part), std::string::npos) << part << ": " << sentence(options);
  }
  for (const float bad : {NAN, INFINITY}) {
    EXPECT_THROW(trine::log_mel(std::vector<float>(400, bad), {}), std::invalid_argument);
  }
  const std::vector<float> many(400'000);
  EXPECT_NE(error_of<std::invalid_argument>([&] { trine::log_mel(many, {.hop = 1, .bands = 1'024}); }).find("too many"),
            std::string::npos);
}

TEST(LogMel, StaysFiniteForTheLoudestSamples) {
  const std::vector<float> loud(1000, std::numeric_limits<float>::max());
  for (const float value : trine::log_mel(loud, {.centred = true, .remove_mean = false}).values) {
    ASSERT_TRUE(std::isfinite(value));
  }
}

}  // namespace
