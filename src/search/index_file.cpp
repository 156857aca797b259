#include "search/index_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>

#include "detail/error.h"
#include "detail/file.h"

namespace trine::detail {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMagic = "TRINEIDX";
constexpr std::uint32_t kVersion = 2;
constexpr std::size_t kSumBytes = 4;     // after each section and at the end of the header
constexpr std::size_t kLengthBytes = 4;  // before each string
constexpr std::size_t kAlignment = 64;   // of the sections of version 2
constexpr std::size_t kChunkBytes = std::size_t{1} << 18;

static_assert(sizeof(std::size_t) == 8, "the caps of index_file.h leave no overflow in 64 bits");
static_assert(std::numeric_limits<float>::is_iec559 && sizeof(float) == 4);

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

/// Numbers as they stand in a file, in place: nothing to do on nearly every machine.
template <typename T>
void swap_unless_little(std::span<T> values) {
  if constexpr (std::endian::native != std::endian::little && sizeof(T) > 1) {
    for (T& value : values) {
      auto bytes = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
      std::ranges::reverse(bytes);
      value = std::bit_cast<T>(bytes);
    }
  }
}

/// The sections in their order. Version 1 has vectors (floats), ids and metadata, without gaps.
enum Section { kFloats, kHalves, kCodes, kScales, kIds, kMetadata, kLevels, kBase, kUpper, kSections };
constexpr std::array<const char*, kSections> kNames = {"vectors",  "halves",       "codes",      "scales",     "ids",
                                                       "metadata", "graph levels", "base links", "upper links"};

struct Header {
  std::uint32_t version = 1;
  std::uint64_t dim = 0;
  std::uint64_t records = 0;
  IndexForm options;
  std::uint64_t m = 0;  // 0: no graph
  std::uint64_t ef_construction = 0;
  std::array<std::uint64_t, kSections> bytes = {};
  std::array<bool, kSections> there = {};

  std::uint64_t header_bytes() const { return version == 1 ? 64 : 128; }

  /// What the options say about the sections whose sizes follow from the counts.
  void fill() {
    const Rows rows(dim, options.precision, options.rescore);
    there = {rows.has_floats, rows.has_halves, rows.has_codes || m != 0, rows.has_codes || m != 0, true, true, m != 0,
             m != 0,          m != 0};
    const auto set = [&](Section section, std::uint64_t size) { bytes[section] = there[section] ? size : 0; };
    set(kFloats, records * dim * sizeof(float));
    set(kHalves, records * dim * sizeof(Half));
    set(kCodes, records * code_stride(dim));
    set(kScales, records * sizeof(float));
    set(kLevels, records);
    set(kBase, records * (1 + 2 * m) * sizeof(std::uint32_t));
  }

  std::uint64_t padded(std::uint64_t size) const {
    return version == 1 ? size : (size + kAlignment - 1) / kAlignment * kAlignment;
  }

  std::uint64_t file_bytes() const {
    std::uint64_t sum = header_bytes();
    for (std::size_t i = 0; i < kSections; ++i) sum += there[i] ? padded(bytes[i] + kSumBytes) : 0;
    return sum;
  }
};

std::vector<std::byte> encode(const Header& header) {
  std::vector<std::byte> bytes(header.header_bytes());
  std::ranges::copy(std::as_bytes(std::span(kMagic)), bytes.begin());
  put(&bytes[8], header.version);
  put(&bytes[12], static_cast<std::uint32_t>(header.dim));
  put(&bytes[16], header.records);
  put(&bytes[24], header.file_bytes());
  if (header.version == 1) {
    put(&bytes[32], header.bytes[kFloats]);
    put(&bytes[40], header.bytes[kIds]);
    put(&bytes[48], header.bytes[kMetadata]);
  } else {
    const auto code = [](VectorType precision) { return static_cast<std::uint8_t>(1 + static_cast<int>(precision)); };
    put(&bytes[32], code(header.options.precision));
    put(&bytes[33], header.options.rescore ? code(*header.options.rescore) : std::uint8_t{0});
    put(&bytes[36], static_cast<std::uint32_t>(header.m));
    put(&bytes[40], static_cast<std::uint32_t>(header.ef_construction));
    put(&bytes[48], header.bytes[kIds]);
    put(&bytes[56], header.bytes[kMetadata]);
    put(&bytes[64], header.bytes[kUpper]);
  }
  const std::size_t sum_at = bytes.size() - kSumBytes;
  put(&bytes[sum_at], crc(0, std::span(bytes).first(sum_at)));
  return bytes;
}

/// A file from front to back, read or mapped.
class Source {
 public:
  Source(const char* who, const fs::path& path, bool mapped) {
    if (mapped && std::endian::native == std::endian::little) {
      map_ = std::make_shared<MappedFile>(who, path);
    } else {
      file_.emplace(who, path);
    }
  }

  std::uint64_t size() const { return map_ ? map_->bytes().size() : file_->size(); }
  const std::shared_ptr<MappedFile>& map() const { return map_; }

  void read(std::span<std::byte> bytes) {
    if (map_) {
      std::ranges::copy(view(bytes.size()), bytes.begin());
    } else {
      file_->read(bytes);
    }
  }
  /// What comes next of a mapped file.
  Bytes view(std::size_t bytes) {
    const Bytes there = map_->bytes().subspan(at_, bytes);
    at_ += bytes;
    return there;
  }

 private:
  std::optional<InputFile> file_;
  std::shared_ptr<MappedFile> map_;
  std::size_t at_ = 0;
};

/// Reads and checks the header; afterwards the sections fill the file exactly and no sum or product of sizes overflows.
Header read_header(const char* who, const fs::path& path, Source& file) {
  std::vector<std::byte> bytes(Header{}.header_bytes());
  const std::size_t there = std::min<std::size_t>(file.size(), bytes.size());
  file.read(std::span(bytes).first(there));
  const bool is_index = there >= kMagic.size() &&
                        std::ranges::equal(std::as_bytes(std::span(kMagic)), std::span(bytes).first(kMagic.size()));
  if (!is_index) failure(who, path, " is not a Trine index: it does not begin with ", kMagic);
  if (there < bytes.size()) failure(who, path, " is cut: ", there, " bytes are not even a header");

  // The version comes before the checksum: a later one may lay out the header differently.
  Header header;
  header.version = get<std::uint32_t>(&bytes[8]);
  if (header.version > kVersion) {
    failure(who, path, " has format version ", header.version, " (or is damaged), this library reads up to ", kVersion,
            ": use a newer Trine");
  }
  const auto senseless = [&] { failure(who, path, " is damaged: its header makes no sense"); };
  if (header.version == 0) senseless();
  if (file.size() < header.header_bytes()) failure(who, path, " is cut: ", there, " bytes are not even a header");
  bytes.resize(header.header_bytes());
  file.read(std::span(bytes).subspan(there));
  const std::size_t sum_at = bytes.size() - kSumBytes;
  if (get<std::uint32_t>(&bytes[sum_at]) != crc(0, std::span(bytes).first(sum_at))) {
    failure(who, path, " is damaged: the checksum of its header does not match");
  }
  header.dim = get<std::uint32_t>(&bytes[12]);
  header.records = get<std::uint64_t>(&bytes[16]);
  if (header.dim < 1 || header.dim > kMaxIndexDim) {
    failure(who, path, " has vectors of dimension ", header.dim, ", wanted 1 to ", kMaxIndexDim);
  }
  if (header.records > kMaxIndexRecords) {
    failure(who, path, " has ", header.records, " records, at most ", kMaxIndexRecords, " are accepted");
  }
  const bool first = header.version == 1;
  if (!first) {
    const auto scanned = get<std::uint8_t>(&bytes[32]), kept = get<std::uint8_t>(&bytes[33]);
    if (scanned < 1 || scanned > 3 || kept >= scanned) senseless();
    header.options.precision = static_cast<VectorType>(scanned - 1);
    if (kept != 0) header.options.rescore = static_cast<VectorType>(kept - 1);
    header.m = get<std::uint32_t>(&bytes[36]);
    header.ef_construction = get<std::uint32_t>(&bytes[40]);
    if (header.m > kMostGraphLinks || header.m == 1 || (header.m == 0) != (header.ef_construction == 0)) senseless();
  }
  header.fill();
  header.bytes[kIds] = get<std::uint64_t>(&bytes[first ? 40 : 48]);
  header.bytes[kMetadata] = get<std::uint64_t>(&bytes[first ? 48 : 56]);
  header.bytes[kUpper] = first ? 0 : get<std::uint64_t>(&bytes[64]);
  const std::uint64_t most_upper = header.records * (kMostGraphLevels - 1) * (1 + header.m) * sizeof(std::uint32_t);
  if (header.bytes[kIds] < header.records * (kLengthBytes + 1) ||
      header.bytes[kIds] > header.records * (kLengthBytes + kMaxIndexIdBytes) ||
      header.bytes[kMetadata] > kMaxIndexMetadataBytes ||
      header.bytes[kUpper] > (header.there[kUpper] ? most_upper : 0) ||
      header.bytes[kUpper] % sizeof(std::uint32_t) != 0) {
    failure(who, path, " is damaged: its sections do not fit ", header.records, " records of dimension ", header.dim);
  }
  if (file.size() != header.file_bytes()) {
    failure(who, path, " has ", file.size(), " bytes, its header says ", header.file_bytes(), ": it was cut or grew");
  }
  if (encode(header) != bytes) senseless();  // the lengths that follow from others, and what is reserved
  return header;
}

/// One section on its way out: its bytes, then their checksum.
class SectionWriter {
 public:
  SectionWriter(std::ostream& out, const Header& header) : out_(out), header_(header) {}

  void add(Bytes bytes) {
    crc_ = crc(crc_, bytes);
    out_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    written_ += bytes.size();
  }

  void add(std::string_view text) {
    std::array<std::byte, kLengthBytes> length{};
    put(length.data(), static_cast<std::uint32_t>(text.size()));
    add(Bytes(length));
    add(std::as_bytes(std::span(text)));
  }

  template <typename T>
  void add_numbers(std::span<const T> values) {
    if constexpr (std::endian::native == std::endian::little || sizeof(T) == 1) {
      add(std::as_bytes(values));
    } else {
      std::vector<T> swapped(values.begin(), values.end());
      swap_unless_little(std::span(swapped));
      add(std::as_bytes(std::span(swapped)));
    }
  }

  void finish() {
    std::vector<std::byte> end(header_.padded(written_ + kSumBytes) - written_);
    put(end.data(), crc_);
    out_.write(reinterpret_cast<const char*>(end.data()), static_cast<std::streamsize>(end.size()));
    crc_ = 0;
    written_ = 0;
  }

 private:
  std::ostream& out_;
  const Header& header_;
  std::uint32_t crc_ = 0;
  std::uint64_t written_ = 0;
};

/// One section on its way in.
class SectionReader {
 public:
  SectionReader(const char* who, const fs::path& path, const Header& header, Section section, Source& file)
      : who_(who), path_(path), header_(header), section_(section), file_(file) {}

  std::uint64_t size() const { return header_.bytes[section_]; }

  /// The whole section, checked, into memory of its size.
  void read(std::span<std::byte> bytes) {
    std::uint32_t sum = 0;
    for (std::span<std::byte> rest = bytes; !rest.empty();) {
      const auto chunk = rest.first(std::min(rest.size(), kChunkBytes));
      file_.read(chunk);
      sum = crc(sum, chunk);
      rest = rest.subspan(chunk.size());
    }
    finish(sum);
  }

  template <typename T, typename Allocator>
  void read(std::vector<T, Allocator>& values) {
    values.resize(size() / sizeof(T));
    read(std::as_writable_bytes(std::span(values)));
    swap_unless_little(std::span(values));
  }

  template <typename T>
  void read(Column<T>& column) {
    if (file_.map()) {
      const Bytes bytes = file_.view(size());
      finish(crc(0, bytes));
      column = Column<T>({reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)}, file_.map());
    } else {
      column.resize(size() / sizeof(T));
      const std::span<T> values(column.change(), column.size());
      read(std::as_writable_bytes(values));
      swap_unless_little(values);
    }
  }

  std::vector<std::byte> all() {
    std::vector<std::byte> content(size());
    read(std::span(content));
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

  [[noreturn]] void damaged(const char* why) const {
    failure(who_, path_, " is damaged in its ", kNames[section_], ": ", why);
  }

 private:
  void finish(std::uint32_t sum) {
    std::vector<std::byte> end(header_.padded(size() + kSumBytes) - size());
    file_.read(end);
    if (get<std::uint32_t>(end.data()) != sum) damaged("the checksum does not match");
    const bool zero =
        std::ranges::all_of(std::span(end).subspan(kSumBytes), [](std::byte b) { return b == std::byte{}; });
    if (!zero) damaged("there are bytes after its end");
  }

  const char* who_;
  const fs::path& path_;
  const Header& header_;
  Section section_;
  Source& file_;
};

bool all_finite(const Column<float>& values) {
  return std::all_of(values.data(), values.data() + values.size(), [](float value) { return std::isfinite(value); });
}

Rows read_vectors(const Header& header, const auto& section) {
  Rows rows(header.dim, header.options.precision, header.options.rescore);
  rows.has_codes = header.there[kCodes];
  rows.count = header.records;
  if (rows.has_floats) {
    SectionReader floats = section(kFloats);
    floats.read(rows.floats);
    if (!all_finite(rows.floats)) floats.damaged("a value is NaN or Inf");
  }
  if (rows.has_halves) {
    SectionReader halves = section(kHalves);
    halves.read(rows.halves);
    const Half* values = rows.halves.data();
    const auto is_finite = [](Half value) { return (value & 0x7c00) != 0x7c00; };
    if (!std::all_of(values, values + rows.halves.size(), is_finite)) halves.damaged("a value is NaN or Inf");
  }
  if (rows.has_codes) {
    SectionReader codes = section(kCodes);
    codes.read(rows.codes);
    for (std::size_t row = 0; row < rows.count; ++row) {
      const std::uint8_t* values = rows.codes.data() + row * rows.stride();
      if (std::any_of(values + rows.dim, values + rows.stride(), [](std::uint8_t code) { return code != 128; })) {
        codes.damaged("a row is not filled up with 128");
      }
    }
    SectionReader scales = section(kScales);
    scales.read(rows.scales);
    const float* values = rows.scales.data();
    if (!all_finite(rows.scales) || std::any_of(values, values + rows.count, [](float scale) { return scale < 0; })) {
      scales.damaged("a value is negative, NaN or Inf");
    }
  }
  for (std::size_t row = 0; row < rows.count; ++row) rows.note_norm(row);
  return rows;
}

std::vector<std::string> read_ids(const Header& header, SectionReader section) {
  const std::vector<std::byte> content = section.all();
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

std::map<std::string, std::string> read_metadata(SectionReader section) {
  const std::vector<std::byte> content = section.all();
  Bytes rest = content;
  std::map<std::string, std::string> metadata;
  while (!rest.empty()) {
    std::string key = section.next_string(rest);
    if (!metadata.empty() && key <= metadata.rbegin()->first) section.damaged("the keys are not in ascending order");
    metadata.emplace_hint(metadata.end(), std::move(key), section.next_string(rest));
  }
  return metadata;
}

Graph read_graph(const Header& header, const auto& section) {
  std::vector<std::uint8_t> levels;
  Graph::Links base;
  std::vector<std::uint32_t> upper;
  section(kLevels).read(levels);
  section(kBase).read(base);
  SectionReader last = section(kUpper);
  last.read(upper);
  Graph graph(header.m, header.ef_construction);
  if (!graph.restore(std::move(levels), std::move(base), std::move(upper))) last.damaged("a link leads nowhere");
  return graph;
}

}  // namespace

void write_index_file(const char* who, const fs::path& path, const IndexParts& parts) {
  std::optional<Graph> graph;
  if (parts.graph != nullptr) graph = parts.graph->of_rows(parts.vectors, parts.order);
  const Rows& rows = parts.vectors;
  Header header{.version = parts.options.precision == VectorType::fp32 && !graph ? 1u : 2u,
                .dim = rows.dim,
                .records = parts.order.size(),
                .options = parts.options,
                .m = graph ? graph->m() : 0,
                .ef_construction = graph ? graph->ef_construction() : 0};
  header.fill();
  for (const std::uint32_t row : parts.order) header.bytes[kIds] += kLengthBytes + parts.ids[row]->size();
  for (const auto& [key, value] : parts.metadata) {
    header.bytes[kMetadata] += 2 * kLengthBytes + key.size() + value.size();
  }
  if (graph) header.bytes[kUpper] = graph->upper().size() * sizeof(std::uint32_t);
  if (header.bytes[kMetadata] > kMaxIndexMetadataBytes) {
    bad_argument(who, "the metadata has ", header.bytes[kMetadata], " bytes, at most ", kMaxIndexMetadataBytes,
                 " fit an index file");
  }

  write_atomically(who, path, [&](std::ostream& out) {
    const auto head = encode(header);
    out.write(reinterpret_cast<const char*>(head.data()), static_cast<std::streamsize>(head.size()));
    SectionWriter section(out, header);
    const auto add_rows = [&](Section which, const auto& column, std::size_t width) {
      if (!header.there[which]) return;
      for (const std::uint32_t row : parts.order) section.add_numbers(std::span(column.data() + row * width, width));
      section.finish();
    };
    add_rows(kFloats, rows.floats, rows.dim);
    add_rows(kHalves, rows.halves, rows.dim);
    add_rows(kCodes, rows.codes, rows.stride());
    add_rows(kScales, rows.scales, 1);
    for (const std::uint32_t row : parts.order) section.add(*parts.ids[row]);
    section.finish();
    for (const auto& [key, value] : parts.metadata) {
      section.add(key);
      section.add(value);
    }
    section.finish();
    if (!graph) return;
    section.add_numbers(std::span(graph->levels()));
    section.finish();
    section.add_numbers(std::span<const std::uint32_t>(graph->base()));
    section.finish();
    section.add_numbers(std::span(graph->upper()));
    section.finish();
  });
}

IndexContent read_index_file(const char* who, const fs::path& path, bool mapped) {
  Source file(who, path, mapped);
  const Header header = read_header(who, path, file);
  const auto section = [&](Section which) { return SectionReader(who, path, header, which, file); };
  IndexContent content{header.options, read_vectors(header, section), {}, {}, {}};
  content.ids = read_ids(header, section(kIds));
  content.metadata = read_metadata(section(kMetadata));
  if (header.m != 0) content.graph = read_graph(header, section);
  return content;
}

}  // namespace trine::detail
