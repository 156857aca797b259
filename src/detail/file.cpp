#include "detail/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ostream>
#include <random>
#include <streambuf>
#include <system_error>

#include "detail/error.h"

namespace trine::detail {
namespace fs = std::filesystem;

namespace {

/// Size of an open regular file; a directory, device or pipe is refused (it could block or have no end).
std::uint64_t regular_size(const char* who, const Descriptor& file, const fs::path& path) {
  struct stat info {};
  if (file.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) missing_file(who, path);
    failure(who, "cannot open ", path, ": ", std::strerror(errno));
  }
  if (::fstat(file.get(), &info) != 0) failure(who, "cannot read ", path, ": ", std::strerror(errno));
  if (!S_ISREG(info.st_mode)) failure(who, path, " is not a regular file");
  return static_cast<std::uint64_t>(info.st_size);
}

bool sync(const Descriptor& file) {
  while (::fsync(file.get()) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

/// Buffered bytes on their way to a descriptor. Unlike a std::filebuf it keeps the reason of the first error.
class OutputBuffer : public std::streambuf {
 public:
  explicit OutputBuffer(int file) : file_(file) { setp(buffer_.data(), buffer_.data() + buffer_.size()); }

  int error() const { return error_; }

 protected:
  int_type overflow(int_type next) override {
    if (sync() != 0) return traits_type::eof();
    if (traits_type::eq_int_type(next, traits_type::eof())) return traits_type::not_eof(next);
    return sputc(traits_type::to_char_type(next));
  }

  int sync() override {
    const char* next = pbase();
    while (error_ == 0 && next < pptr()) {
      const ssize_t written = ::write(file_, next, static_cast<std::size_t>(pptr() - next));
      if (written >= 0) {
        next += written;
      } else if (errno != EINTR) {
        error_ = errno;
      }
    }
    setp(buffer_.data(), buffer_.data() + buffer_.size());
    return error_ == 0 ? 0 : -1;
  }

 private:
  int file_;
  int error_ = 0;
  std::array<char, 1 << 16> buffer_;
};

/// A new file of a name that nobody else has (so no link is followed and no other writer met); removed again unless it
/// was renamed.
class TemporaryFile {
 public:
  TemporaryFile(const char* who, const fs::path& directory, mode_t mode)
      : path_(fresh_name(directory)), file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)) {
    if (file_.get() < 0) failure(who, "cannot write in ", directory, ": ", std::strerror(errno));
  }
  ~TemporaryFile() {
    if (!renamed_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const Descriptor& file() const { return file_; }

  bool rename_to(const fs::path& path) {
    renamed_ = std::rename(path_.c_str(), path.c_str()) == 0;
    return renamed_;
  }

 private:
  /// 64 random bits: a name that is taken is an attack or a miracle, and O_EXCL turns both into an error.
  static fs::path fresh_name(const fs::path& directory) {
    std::random_device random;
    std::array<char, 32> name{};
    std::snprintf(name.data(), name.size(), ".trine-%08x%08x.tmp", random(), random());
    return directory / name.data();
  }

  fs::path path_;
  Descriptor file_;
  bool renamed_ = false;
};

}  // namespace

void missing_file(const char* who, const fs::path& path) {
  throw std::system_error(std::make_error_code(std::errc::no_such_file_or_directory),
                          sentence(who, "no file at ", path));
}

std::vector<std::byte> read_file(const char* who, const fs::path& path, std::uint64_t max_bytes) {
  InputFile file(who, path);
  if (file.size() > max_bytes) {
    failure(who, path, " has ", file.size(), " bytes, at most ", max_bytes, " are accepted");
  }
  std::vector<std::byte> bytes(file.size());
  file.read(bytes);
  return bytes;
}

std::string read_text(const char* who, const fs::path& path, std::uint64_t max_bytes) {
  const std::vector<std::byte> bytes = read_file(who, path, max_bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_atomically(const char* who, const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  struct stat old {};
  const bool replaces = ::stat(path.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) failure(who, path, " is not a regular file");
  const mode_t mode = replaces ? old.st_mode & 0777 : 0666;

  const Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) failure(who, "cannot write in ", directory, ": ", std::strerror(errno));
  TemporaryFile temporary(who, directory, mode);
  // The mode given to open() is narrowed by the umask.
  if (replaces && ::fchmod(temporary.file().get(), mode) != 0) {
    failure(who, "cannot write ", path, ": ", std::strerror(errno));
  }

  OutputBuffer buffer(temporary.file().get());
  std::ostream out(&buffer);
  write(out);
  out.flush();
  if (!out) {
    failure(who, "cannot write ", path, ": ", buffer.error() != 0 ? std::strerror(buffer.error()) : "stream failed");
  }
  if (!sync(temporary.file())) failure(who, "cannot sync ", path, ": ", std::strerror(errno));
  if (!temporary.rename_to(path)) failure(who, "cannot replace ", path, ": ", std::strerror(errno));
  // Some network file systems cannot sync a directory and say EINVAL.
  if (!sync(folder) && errno != EINVAL) failure(who, "cannot sync ", directory, ": ", std::strerror(errno));
}

Descriptor::~Descriptor() {
  if (value_ >= 0) ::close(value_);
}

InputFile::InputFile(const char* who, const fs::path& path)
    : who_(who),
      path_(path),
      file_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)),
      size_(regular_size(who, file_, path)) {}

void InputFile::read(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::read(file_.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failure(who_, "cannot read ", path_, ": ", std::strerror(errno));
    if (got == 0) failure(who_, path_, " ends early: it was cut while it was read");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

MappedFile::MappedFile(const char* who, const fs::path& path) {
  const InputFile file(who, path);
  if (file.size() == 0) return;
  void* address = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) failure(who, "cannot map ", path, ": ", std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(address), file.size()};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace trine::detail
