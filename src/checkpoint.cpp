#include "trine/checkpoint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <ostream>
#include <set>
#include <tuple>
#include <utility>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"

namespace trine {
namespace fs = std::filesystem;

using detail::bad_argument;
using detail::failure;
using detail::Json;
using detail::shown;

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and is not converted");

constexpr const char* kOpen = "Checkpoint::open";
constexpr const char* kSave = "save_safetensors";
constexpr const char* kMetadata = "__metadata__";
constexpr std::size_t kPrefix = 8;                 // bytes that hold the length of the header
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the limit of the format's own library
constexpr std::size_t kMaxShards = 4096;

struct TypeInfo {
  DType type;
  std::string_view name;
  std::size_t size;
};

/// In the order in which the format's own library lays tensors out: wide types first, so that all are aligned.
constexpr std::array<TypeInfo, 13> kTypes = {{{DType::U64, "U64", 8},
                                              {DType::I64, "I64", 8},
                                              {DType::F64, "F64", 8},
                                              {DType::F32, "F32", 4},
                                              {DType::U32, "U32", 4},
                                              {DType::I32, "I32", 4},
                                              {DType::BF16, "BF16", 2},
                                              {DType::F16, "F16", 2},
                                              {DType::U16, "U16", 2},
                                              {DType::I16, "I16", 2},
                                              {DType::I8, "I8", 1},
                                              {DType::U8, "U8", 1},
                                              {DType::BOOL, "BOOL", 1}}};

std::size_t layout_rank(DType type) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeInfo& t) { return t.type == type; });
  if (found == kTypes.end()) bad_argument("DType", "no element type has the number ", static_cast<int>(type));
  return static_cast<std::size_t>(found - kTypes.begin());
}

/// Bytes of a tensor, or nothing where a dimension is negative or the product leaves 63 bits. Any prefix of the product
/// has to fit, so that TensorView::numel() cannot overflow even where a later dimension is zero.
std::optional<std::uint64_t> byte_size(DType type, const std::vector<std::int64_t>& shape) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    const auto factor = static_cast<std::uint64_t>(dimension);
    if (factor != 0 && elements > kMost / factor) return std::nullopt;
    elements *= factor;
  }
  if (elements > kMost / size_of(type)) return std::nullopt;
  return elements * size_of(type);
}

/// A tensor as the header tells it; offsets count from the end of the header.
struct Entry {
  std::string name;
  TensorView view;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Reads the header of one safetensors file and checks every rule of the format.
class HeaderReader {
 public:
  HeaderReader(const fs::path& path, detail::Bytes file) : path_(path), file_(file) {}

  void read(std::map<std::string, TensorView>& tensors, std::map<std::string, std::string>& metadata) const {
    const std::string_view text = header_text();
    const detail::Bytes data = file_.subspan(kPrefix + text.size());
    const Json header = detail::parse_json(kOpen, text, "the header of " + path_.string(),
                                           {.max_bytes = kMaxHeader, .unique_keys = true});
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        metadata = read_metadata(value);
      } else {
        entries.push_back(read_entry(name, value));
      }
    }
    check_layout(entries, data.size());
    for (Entry& entry : entries) {
      entry.view.data = data.subspan(entry.begin, entry.end - entry.begin);
      tensors.emplace(std::move(entry.name), std::move(entry.view));
    }
  }

 private:
  template <typename... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    failure(kOpen, path_, " is not a safetensors file: ", parts...);
  }

  std::string_view header_text() const {
    if (file_.size() < kPrefix) refuse("it has ", file_.size(), " bytes, the length of the header takes ", kPrefix);
    std::uint64_t length = 0;
    std::memcpy(&length, file_.data(), kPrefix);
    if (length > kMaxHeader) refuse("its header would have ", length, " bytes, at most ", kMaxHeader, " are allowed");
    const std::size_t rest = file_.size() - kPrefix;
    if (length > rest) refuse("its header would have ", length, " bytes, ", rest, " are there");
    const std::string_view text(reinterpret_cast<const char*>(file_.data()) + kPrefix, length);
    if (!text.starts_with('{')) refuse("its header does not start with '{'");
    return text;
  }

  std::map<std::string, std::string> read_metadata(const Json& value) const {
    std::map<std::string, std::string> metadata;
    if (value.is_null()) return metadata;
    if (!value.is_object()) refuse(kMetadata, " is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) refuse(kMetadata, " holds ", shown(key), ", which is not a string");
      metadata.emplace(key, text.get_ref<const std::string&>());
    }
    return metadata;
  }

  Entry read_entry(const std::string& name, const Json& value) const {
    Entry entry;
    entry.name = name;
    if (!value.is_object()) refuse("tensor ", shown(name), " is not described by an object");
    entry.view.dtype = read_type(name, member(name, value, "dtype"));

    const Json& shape = member(name, value, "shape");
    if (!shape.is_array()) refuse("the shape of tensor ", shown(name), " is not an array");
    for (const Json& dimension : shape) {
      if (!dimension.is_number_unsigned() || !detail::holds<std::int64_t>(dimension)) {
        refuse("the shape of tensor ", shown(name), " holds something that is not a size");
      }
      entry.view.shape.push_back(dimension.get<std::int64_t>());
    }

    const Json& offsets = member(name, value, "data_offsets");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      refuse("the data_offsets of tensor ", shown(name), " are not two sizes");
    }
    entry.begin = offsets[0].get<std::uint64_t>();
    entry.end = offsets[1].get<std::uint64_t>();

    const auto size = byte_size(entry.view.dtype, entry.view.shape);
    if (!size) refuse("the shape of tensor ", shown(name), " is too large");
    if (entry.begin > entry.end || entry.end - entry.begin != *size) {
      refuse("tensor ", shown(name), " needs ", *size, " bytes, its data_offsets are ", entry.begin, " and ",
             entry.end);
    }
    return entry;
  }

  const Json& member(const std::string& name, const Json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end()) refuse("tensor ", shown(name), " has no \"", key, '"');
    return *found;
  }

  DType read_type(const std::string& name, const Json& value) const {
    if (!value.is_string()) refuse("the dtype of tensor ", shown(name), " is not a string");
    const auto& text = value.get_ref<const std::string&>();
    const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeInfo& t) { return t.name == text; });
    if (found == kTypes.end()) {
      failure(kOpen, path_, ": tensor ", shown(name), " has elements of type ", shown(text),
              ", which is not supported");
    }
    return found->type;
  }

  /// The data is one run of tensors without hole, overlap or rest.
  void check_layout(std::vector<Entry>& entries, std::uint64_t data_size) const {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
    std::uint64_t covered = 0;
    for (const Entry& entry : entries) {
      if (entry.begin != covered) {
        refuse("the data of tensor ", shown(entry.name), " starts at ", entry.begin, ", not at ", covered,
               " where the one before ends");
      }
      covered = entry.end;
    }
    if (covered != data_size) refuse("its tensors take ", covered, " bytes, the file holds ", data_size);
  }

  const fs::path& path_;
  detail::Bytes file_;
};

bool is_pickle(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

[[noreturn]] void refuse_pickle(const fs::path& path, const fs::path& directory) {
  failure(kOpen, path, " holds weights as .bin, .pt, .pth or .ckpt only; reading those formats can run code. To make a ",
          "safetensors file of them, run: trine convert ", directory.string());
}

/// The file to open for what the user named.
fs::path resolve(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (!fs::exists(path, error)) detail::missing_file(kOpen, path);
    if (is_pickle(path)) refuse_pickle(path, path.has_parent_path() ? path.parent_path() : fs::path("."));
    return path;
  }
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(path / name, error)) return path / name;
  }
  for (auto entry = fs::directory_iterator(path, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (is_pickle(entry->path())) refuse_pickle(path, path);
  }
  detail::missing_file(kOpen, path / "model.safetensors");
}

/// A shard is a file beside its index and nothing else: an index must not reach other folders.
bool is_plain_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos &&
         !name.starts_with("..");
}

/// Length of what two names share at their ends, as a part of both: 1 for equal names. It finds a missing prefix, a
/// wrong suffix and a typing error between, in linear time.
double likeness(std::string_view a, std::string_view b) {
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t prefix = 0, suffix = 0;
  while (prefix < most && a[prefix] == b[prefix]) ++prefix;
  while (prefix + suffix < most && a[a.size() - 1 - suffix] == b[b.size() - 1 - suffix]) ++suffix;
  return 2.0 * static_cast<double>(prefix + suffix) / static_cast<double>(a.size() + b.size());
}

}  // namespace

std::string_view to_string(DType type) { return kTypes[layout_rank(type)].name; }

std::size_t size_of(DType type) { return kTypes[layout_rank(type)].size; }

struct Checkpoint::Impl {
  fs::path path;
  std::vector<std::unique_ptr<detail::MappedFile>> files;
  std::map<std::string, TensorView> tensors;
  std::map<std::string, std::string> metadata;

  void add_file(const fs::path& file) {
    files.push_back(std::make_unique<detail::MappedFile>(kOpen, file));
    std::map<std::string, std::string> of_file;
    HeaderReader(file, files.back()->bytes()).read(tensors, of_file);
    if (files.size() == 1) metadata = std::move(of_file);
  }

  void add_shards(const fs::path& index_file);
};

/// model.safetensors.index.json: {"weight_map": {tensor name: shard file name}}, which must agree with the shards.
void Checkpoint::Impl::add_shards(const fs::path& index_file) {
  const Json index = detail::read_json(kOpen, index_file, {.unique_keys = true});
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) failure(kOpen, index_file, " has no object \"weight_map\"");

  std::map<std::string, std::set<std::string>> shards;  // file name -> the tensors that it must hold
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) failure(kOpen, index_file, ": the file of tensor ", shown(tensor), " is not a string");
    const auto& name = file.get_ref<const std::string&>();
    if (!is_plain_name(name)) {
      failure(kOpen, index_file, ": ", shown(name), " is not the name of a .safetensors file in the same directory");
    }
    shards[name].insert(tensor);
  }
  if (shards.size() > kMaxShards) {
    failure(kOpen, index_file, " names ", shards.size(), " shards, at most ", kMaxShards, " are accepted");
  }

  for (const auto& [name, expected] : shards) {
    const fs::path file = index_file.parent_path() / name;
    Impl shard;
    shard.add_file(file);
    for (const std::string& tensor : expected) {
      if (!shard.tensors.contains(tensor))
        failure(kOpen, index_file, " says that ", shown(name), " holds ", shown(tensor), ", which it does not");
    }
    for (auto& [tensor, view] : shard.tensors) {
      if (!expected.contains(tensor))
        failure(kOpen, file, " holds ", shown(tensor), ", of which the index knows nothing");
    }
    if (files.empty()) metadata = std::move(shard.metadata);
    files.push_back(std::move(shard.files.front()));
    tensors.merge(shard.tensors);
  }
}

Checkpoint::Checkpoint(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Checkpoint Checkpoint::open(const fs::path& path) {
  auto impl = std::make_shared<Impl>();
  impl->path = path;
  const fs::path file = resolve(path);
  if (file.extension() == ".json") {
    impl->add_shards(file);
  } else {
    impl->add_file(file);
  }
  return Checkpoint(std::move(impl));
}

bool Checkpoint::contains(std::string_view name) const { return impl_->tensors.contains(std::string(name)); }

const TensorView& Checkpoint::at(std::string_view name) const {
  if (const auto found = impl_->tensors.find(std::string(name)); found != impl_->tensors.end()) return found->second;

  constexpr double kNear = 0.5;
  std::vector<std::pair<double, std::string_view>> near;  // negated, so that the nearest sorts first
  for (const auto& [other, view] : impl_->tensors) {
    if (const double score = likeness(name, other); score >= kNear) near.emplace_back(-score, other);
  }
  std::sort(near.begin(), near.end());
  near.resize(std::min<std::size_t>(near.size(), 3));
  std::string hint;
  for (const auto& [score, other] : near) hint += (hint.empty() ? "; near: " : ", ") + shown(other);
  failure("Checkpoint::at", impl_->path, " has no tensor ", shown(name), hint);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(impl_->tensors.size());
  for (const auto& [name, view] : impl_->tensors) names.push_back(name);
  return names;
}

const std::map<std::string, std::string>& Checkpoint::metadata() const { return impl_->metadata; }

const fs::path& Checkpoint::path() const { return impl_->path; }

void save_safetensors(const fs::path& path, const std::map<std::string, TensorView>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  // A string as JSON; nlohmann refuses what is not UTF-8.
  const auto quoted = [](const std::string& text) {
    try {
      return Json(text).dump();
    } catch (const nlohmann::json::exception&) {
      bad_argument(kSave, "a name or metadata is not valid UTF-8");
    }
  };

  std::string header = "{";
  const auto separate = [&header] { header += header.size() > 1 ? "," : ""; };
  if (!metadata.empty()) {
    header += '"' + std::string(kMetadata) + "\":{";
    for (const char* comma = ""; const auto& [key, value] : metadata) {
      header += comma + quoted(key) + ':' + quoted(value);
      comma = ",";
    }
    header += '}';
  }

  std::vector<const std::pair<const std::string, TensorView>*> order;
  for (const auto& item : tensors) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return layout_rank(a->second.dtype) < layout_rank(b->second.dtype);
  });

  std::uint64_t offset = 0;
  for (const auto* item : order) {
    const auto& [name, view] = *item;
    if (name == kMetadata) bad_argument(kSave, "a tensor cannot be named ", kMetadata);
    const auto size = byte_size(view.dtype, view.shape);
    if (!size || *size != view.data.size()) {
      bad_argument(kSave, "tensor ", shown(name), " of type ", to_string(view.dtype), " and shape ",
                   Json(view.shape).dump(), " has ", view.data.size(), " bytes of data");
    }
    separate();
    header += quoted(name) + ":{\"dtype\":\"" + std::string(to_string(view.dtype)) +
              "\",\"shape\":" + Json(view.shape).dump() + ",\"data_offsets\":[" + std::to_string(offset) + ',' +
              std::to_string(offset + *size) + "]}";
    offset += *size;
  }
  header += '}';
  header.resize((header.size() + kPrefix - 1) / kPrefix * kPrefix, ' ');  // the data starts at a multiple of 8
  if (header.size() > kMaxHeader)
    bad_argument(kSave, "the header would have ", header.size(), " bytes, at most ", kMaxHeader, " are allowed");

  detail::write_atomically(kSave, path, [&](std::ostream& out) {
    const std::uint64_t length = header.size();
    out.write(reinterpret_cast<const char*>(&length), kPrefix);
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const auto* item : order) {
      const auto& data = item->second.data;
      out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
    }
  });
}

}  // namespace trine
