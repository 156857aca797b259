#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

namespace trine::detail {

using Bytes = std::span<const std::byte>;

/// A file could not be opened because it is not there; FileNotFoundError in Python.
[[noreturn]] void missing_file(const char* who, const std::filesystem::path& path);

/// The whole file, at most `max_bytes` of it; larger, missing or unreadable files are refused.
std::vector<std::byte> read_file(const char* who, const std::filesystem::path& path, std::uint64_t max_bytes);

/// The same as text.
std::string read_text(const char* who, const std::filesystem::path& path, std::uint64_t max_bytes);

/// Writes `path` through a temporary file of a fresh name beside it: written, synced, renamed, directory synced.
/// Whatever happens, either the old or the new file is there in full, also when several threads or processes write the
/// same path; only a killed process leaves its temporary file (".trine-*.tmp") behind. The permissions of an old file
/// are kept; a symbolic link is replaced, a directory or device refused.
void write_atomically(const char* who, const std::filesystem::path& path,
                      const std::function<void(std::ostream&)>& write);

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return value_; }

 private:
  int value_;
};

/// A regular file read from front to back. What has been read cannot change any more and a file that is cut meanwhile
/// is an error; with a MappedFile the first is not so and the second is SIGBUS.
class InputFile {
 public:
  InputFile(const char* who, const std::filesystem::path& path);

  std::uint64_t size() const { return size_; }
  int descriptor() const { return file_.get(); }

  /// Fills `bytes` with what comes next; a file that ends before is refused.
  void read(std::span<std::byte> bytes);

 private:
  const char* who_;
  std::filesystem::path path_;
  Descriptor file_;
  std::uint64_t size_;
};

/// A file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  MappedFile(const char* who, const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace trine::detail
