#include "search/index_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <ostream>

#include "detail/error.h"
#include "detail/file.h"

namespace trine::detail {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMagic = "TRINEIDX";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kHeaderSumAt = kHeaderBytes - 4;
constexpr std::size_t kSumBytes = 4;     // after each of the three sections
constexpr std::size_t kLengthBytes = 4;  // before each string
constexpr std::size_t kChunkBytes = std::size_t{1} << 18;

static_assert(sizeof(std::size_t) == 8, "the caps of index_file.h leave no overflow in 64 bits");
static_assert(std::numeric_limits<float>::is_iec559 && sizeof(float) == 4);
static_assert(kMaxIndexDim * sizeof(float) <= kChunkBytes, "a chunk holds at least one vector");

std::uint32_t crc(std::uint32_t before, Bytes bytes) {
  return static_cast<std::uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

template <typename Unsigned>
void put(std::byte* at, Unsigned value) {
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

template <typename Unsigned>
Unsigned get(const std::byte* at) {
  Unsigned value = 0;
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) value |= std::to_integer<Unsigned>(at[i]) << (8 * i);
  return value;
}

struct Header {
  std::uint64_t dim = 0;
  std::uint64_t records = 0;
  std::uint64_t vectors_bytes = 0;
  std::uint64_t ids_bytes = 0;
  std::uint64_t metadata_bytes = 0;

  std::uint64_t file_bytes() const { return kHeaderBytes + vectors_bytes + ids_bytes + metadata_bytes + 3 * kSumBytes; }
};

std::array<std::byte, kHeaderBytes> encode(const Header& header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  std::ranges::copy(std::as_bytes(std::span(kMagic)), bytes.begin());
  put(&bytes[8], kVersion);
  put(&bytes[12], static_cast<std::uint32_t>(header.dim));
  put(&bytes[16], header.records);
  put(&bytes[24], header.file_bytes());
  put(&bytes[32], header.vectors_bytes);
  put(&bytes[40], header.ids_bytes);
  put(&bytes[48], header.metadata_bytes);
  put(&bytes[kHeaderSumAt], crc(0, std::span(bytes).first(kHeaderSumAt)));
  return bytes;
}

/// Reads and checks the header; afterwards the sections fill the file exactly and no sum or product of sizes overflows.
Header read_header(const char* who, const fs::path& path, InputFile& file) {
  std::array<std::byte, kHeaderBytes> bytes{};
  const std::size_t there = std::min<std::size_t>(file.size(), bytes.size());
  file.read(std::span(bytes).first(there));
  const bool is_index = there >= kMagic.size() &&
                        std::ranges::equal(std::as_bytes(std::span(kMagic)), std::span(bytes).first(kMagic.size()));
  if (!is_index) failure(who, path, " is not a Trine index: it does not begin with ", kMagic);
  if (there < bytes.size()) failure(who, path, " is cut: ", there, " bytes are not even a header");

  // The version comes before the checksum: a later one may lay out the header differently.
  const auto version = get<std::uint32_t>(&bytes[8]);
  if (version > kVersion) {
    failure(who, path, " has format version ", version, " (or is damaged), this library reads up to ", kVersion,
            ": use a newer Trine");
  }
  if (get<std::uint32_t>(&bytes[kHeaderSumAt]) != crc(0, std::span(bytes).first(kHeaderSumAt))) {
    failure(who, path, " is damaged: the checksum of its header does not match");
  }
  Header header;
  header.dim = get<std::uint32_t>(&bytes[12]);
  header.records = get<std::uint64_t>(&bytes[16]);
  header.vectors_bytes = get<std::uint64_t>(&bytes[32]);
  header.ids_bytes = get<std::uint64_t>(&bytes[40]);
  header.metadata_bytes = get<std::uint64_t>(&bytes[48]);
  if (version == 0 || get<std::uint32_t>(&bytes[56]) != 0) failure(who, path, " is damaged: its header makes no sense");
  if (header.dim < 1 || header.dim > kMaxIndexDim) {
    failure(who, path, " has vectors of dimension ", header.dim, ", wanted 1 to ", kMaxIndexDim);
  }
  if (header.records > kMaxIndexRecords) {
    failure(who, path, " has ", header.records, " records, at most ", kMaxIndexRecords, " are accepted");
  }
  if (header.vectors_bytes != header.records * header.dim * sizeof(float) ||
      header.ids_bytes < header.records * (kLengthBytes + 1) ||
      header.ids_bytes > header.records * (kLengthBytes + kMaxIndexIdBytes) ||
      header.metadata_bytes > kMaxIndexMetadataBytes) {
    failure(who, path, " is damaged: its sections do not fit ", header.records, " records of dimension ", header.dim);
  }
  if (get<std::uint64_t>(&bytes[24]) != header.file_bytes() || file.size() != header.file_bytes()) {
    failure(who, path, " has ", file.size(), " bytes, its header says ", header.file_bytes(), ": it was cut or grew");
  }
  return header;
}

/// One section on its way out: its bytes, then their checksum.
class SectionWriter {
 public:
  explicit SectionWriter(std::ostream& out) : out_(out) {}

  void add(Bytes bytes) {
    crc_ = crc(crc_, bytes);
    out_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }

  void add(std::string_view text) {
    std::array<std::byte, kLengthBytes> length{};
    put(length.data(), static_cast<std::uint32_t>(text.size()));
    add(Bytes(length));
    add(std::as_bytes(std::span(text)));
  }

  void finish() {
    std::array<std::byte, kSumBytes> sum{};
    put(sum.data(), crc_);
    out_.write(reinterpret_cast<const char*>(sum.data()), sum.size());
  }

 private:
  std::ostream& out_;
  std::uint32_t crc_ = 0;
};

/// One section on its way in.
class SectionReader {
 public:
  SectionReader(const char* who, const fs::path& path, const char* name, InputFile& file)
      : who_(who), path_(path), name_(name), file_(file) {}

  void read(std::span<std::byte> bytes) {
    file_.read(bytes);
    crc_ = crc(crc_, bytes);
  }

  void finish() {
    std::array<std::byte, kSumBytes> sum{};
    file_.read(sum);
    if (get<std::uint32_t>(sum.data()) != crc_) damaged("the checksum does not match");
  }

  /// The whole section, checked, in memory.
  std::vector<std::byte> all(std::uint64_t bytes) {
    std::vector<std::byte> content(bytes);
    read(content);
    finish();
    return content;
  }

  /// Cuts the next string off `rest`.
  std::string next_string(Bytes& rest) const {
    if (rest.size() < kLengthBytes) damaged("a string has no length");
    const auto length = get<std::uint32_t>(rest.data());
    rest = rest.subspan(kLengthBytes);
    if (length > rest.size()) damaged("a string is longer than what is left");
    const std::string text(reinterpret_cast<const char*>(rest.data()), length);
    rest = rest.subspan(length);
    return text;
  }

  [[noreturn]] void damaged(const char* why) const { failure(who_, path_, " is damaged in its ", name_, ": ", why); }

 private:
  const char* who_;
  const fs::path& path_;
  const char* name_;
  InputFile& file_;
  std::uint32_t crc_ = 0;
};

std::vector<float> read_vectors(const Header& header, SectionReader section) {
  std::vector<float> vectors;
  vectors.reserve(header.records * header.dim);
  std::vector<std::byte> chunk(std::min<std::uint64_t>(header.vectors_bytes, kChunkBytes));
  for (std::uint64_t left = header.vectors_bytes; left > 0; left -= chunk.size()) {
    chunk.resize(std::min<std::uint64_t>(left, kChunkBytes));
    section.read(chunk);
    for (std::size_t at = 0; at < chunk.size(); at += sizeof(float)) {
      vectors.push_back(std::bit_cast<float>(get<std::uint32_t>(&chunk[at])));
    }
  }
  section.finish();
  if (!std::ranges::all_of(vectors, [](float value) { return std::isfinite(value); })) {
    section.damaged("a value is NaN or Inf");
  }
  return vectors;
}

std::vector<std::string> read_ids(const Header& header, SectionReader section) {
  const std::vector<std::byte> content = section.all(header.ids_bytes);
  Bytes rest = content;
  std::vector<std::string> ids;
  ids.reserve(header.records);
  while (ids.size() < header.records) {
    std::string id = section.next_string(rest);
    if (id.empty() || id.size() > kMaxIndexIdBytes) section.damaged("an id is empty or too long");
    if (!ids.empty() && id <= ids.back()) section.damaged("the ids are not in ascending order");
    ids.push_back(std::move(id));
  }
  if (!rest.empty()) section.damaged("there are bytes after the last id");
  return ids;
}

std::map<std::string, std::string> read_metadata(const Header& header, SectionReader section) {
  const std::vector<std::byte> content = section.all(header.metadata_bytes);
  Bytes rest = content;
  std::map<std::string, std::string> metadata;
  while (!rest.empty()) {
    std::string key = section.next_string(rest);
    if (!metadata.empty() && key <= metadata.rbegin()->first) section.damaged("the keys are not in ascending order");
    metadata.emplace_hint(metadata.end(), std::move(key), section.next_string(rest));
  }
  return metadata;
}

}  // namespace

void write_index_file(const char* who, const fs::path& path, std::size_t dim, std::span<const IndexRecord> records,
                      const std::map<std::string, std::string>& metadata) {
  Header header;
  header.dim = dim;
  header.records = records.size();
  header.vectors_bytes = records.size() * dim * sizeof(float);
  for (const IndexRecord& record : records) header.ids_bytes += kLengthBytes + record.id.size();
  for (const auto& [key, value] : metadata) header.metadata_bytes += 2 * kLengthBytes + key.size() + value.size();
  if (header.metadata_bytes > kMaxIndexMetadataBytes) {
    bad_argument(who, "the metadata has ", header.metadata_bytes, " bytes, at most ", kMaxIndexMetadataBytes,
                 " fit an index file");
  }

  write_atomically(who, path, [&](std::ostream& out) {
    const auto head = encode(header);
    out.write(reinterpret_cast<const char*>(head.data()), head.size());

    SectionWriter vectors(out);
    std::vector<std::byte> row(dim * sizeof(float));
    for (const IndexRecord& record : records) {
      for (std::size_t i = 0; i < dim; ++i)
        put(&row[i * sizeof(float)], std::bit_cast<std::uint32_t>(record.vector[i]));
      vectors.add(Bytes(row));
    }
    vectors.finish();

    SectionWriter ids(out);
    for (const IndexRecord& record : records) ids.add(record.id);
    ids.finish();

    SectionWriter texts(out);
    for (const auto& [key, value] : metadata) {
      texts.add(key);
      texts.add(value);
    }
    texts.finish();
  });
}

IndexContent read_index_file(const char* who, const fs::path& path) {
  InputFile file(who, path);
  const Header header = read_header(who, path, file);
  IndexContent content;
  content.dim = header.dim;
  content.vectors = read_vectors(header, {who, path, "vectors", file});
  content.ids = read_ids(header, {who, path, "ids", file});
  content.metadata = read_metadata(header, {who, path, "metadata", file});
  return content;
}

}  // namespace trine::detail
