#include "detail/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>

namespace {

namespace fs = std::filesystem;
using trine::detail::MappedFile;
using trine::detail::read_file;
using trine::detail::read_text;
using trine::detail::write_atomically;

constexpr std::uint64_t kAny = 1u << 20;

/// A directory of its own for each test, removed with it.
class FileTest : public testing::Test {
 protected:
  FileTest() { fs::create_directories(directory_); }
  ~FileTest() override { fs::remove_all(directory_); }

  fs::path write(const std::string& name, std::string_view content) const {
    std::ofstream(directory_ / name, std::ios::binary) << content;
    return directory_ / name;
  }

  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(directory_), fs::directory_iterator()); }

  const fs::path directory_ =
      fs::temp_directory_path() / ("trine_file_" + std::to_string(::getpid()) + "_" +
                                   testing::UnitTest::GetInstance()->current_test_info()->name());
};

/// The sentence with which something is refused.
template <typename Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "accepted";
}

void put(const fs::path& path, std::string_view text) {
  write_atomically("test", path, [&](std::ostream& out) { out << text; });
}

TEST_F(FileTest, ReadsWhatIsThere) {
  const std::string content("a\0b\xFF\n", 5);
  const fs::path path = write("f", content);
  EXPECT_EQ(read_text("test", path, kAny), content);
  EXPECT_EQ(read_file("test", path, content.size()).size(), content.size());
  EXPECT_EQ(read_text("test", write("empty", ""), 0), "");
}

TEST_F(FileTest, RefusesLargerFilesThanAsked) {
  const fs::path path = write("f", "12345");
  EXPECT_NE(refusal([&] { read_file("test", path, 4); }).find("has 5 bytes, at most 4 are accepted"),
            std::string::npos);
}

TEST_F(FileTest, AMissingFileIsNamed) {
  const fs::path path = directory_ / "absent";
  const fs::path below = write("f", "") / "below";  // a path through a file that is not a directory
  for (const fs::path& missing : {path, below, fs::path()}) {
    for (const bool map : {false, true}) {
      try {
        map ? void(MappedFile("test", missing)) : void(read_file("test", missing, kAny));
        FAIL() << missing;
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
        EXPECT_NE(std::string(error.what()).find("[test] no file at " + ('"' + missing.string() + '"')),
                  std::string::npos)
            << error.what();
      }
    }
  }
}

TEST_F(FileTest, RefusesWhatIsNotARegularFile) {
  const fs::path fifo = directory_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const fs::path& path : {directory_, fifo, fs::path("/dev/zero")}) {  // none of them may block or go on for ever
    EXPECT_NE(refusal([&] { read_file("test", path, kAny); }).find("is not a regular file"), std::string::npos) << path;
    EXPECT_NE(refusal([&] { MappedFile("test", path); }).find("is not a regular file"), std::string::npos) << path;
  }
}

TEST_F(FileTest, RefusesALinkToItself) {
  fs::create_symlink(directory_ / "loop", directory_ / "loop");
  EXPECT_NE(refusal([&] { read_file("test", directory_ / "loop", kAny); }).find("[test] cannot open"),
            std::string::npos);
}

TEST_F(FileTest, MapsWhatIsThere) {
  const MappedFile file("test", write("f", "mapped"));
  ASSERT_EQ(file.bytes().size(), 6u);
  EXPECT_EQ(file.bytes()[5], std::byte{'d'});
  EXPECT_TRUE(MappedFile("test", write("empty", "")).bytes().empty());
}

TEST_F(FileTest, AMappingKeepsTheFileThatWasReplaced) {
  const fs::path path = write("f", "old");
  const MappedFile file("test", path);
  put(path, "entirely new");
  EXPECT_EQ(file.bytes()[0], std::byte{'o'});
  EXPECT_EQ(read_text("test", path, kAny), "entirely new");
}

TEST_F(FileTest, WritesAndReplaces) {
  const fs::path path = directory_ / "f";
  put(path, "one");
  EXPECT_EQ(read_text("test", path, kAny), "one");
  put(path, "2");
  EXPECT_EQ(read_text("test", path, kAny), "2");
  put(path, "");
  EXPECT_EQ(read_text("test", path, kAny), "");
  EXPECT_EQ(files(), 1);
}

TEST_F(FileTest, WritesInTheWorkingDirectory) {
  const fs::path before = fs::current_path();
  fs::current_path(directory_);
  put("plain", "x");
  fs::current_path(before);
  EXPECT_EQ(read_text("test", directory_ / "plain", kAny), "x");
}

TEST_F(FileTest, AFailureLeavesTheOldFileAndNothingElse) {
  const fs::path path = write("f", "old");
  EXPECT_THROW(write_atomically("test", path,
                                [](std::ostream& out) {
                                  out << "half";
                                  throw std::runtime_error("no more");
                                }),
               std::runtime_error);
  EXPECT_NE(refusal([&] {
              write_atomically("test", path, [](std::ostream& out) { out.setstate(std::ios::failbit); });
            }).find("cannot write"),
            std::string::npos);
  EXPECT_EQ(read_text("test", path, kAny), "old");
  EXPECT_EQ(files(), 1);
}

TEST_F(FileTest, RefusesPlacesThatCannotBeWritten) {
  EXPECT_NE(refusal([&] { put(directory_ / "absent" / "f", "x"); }).find("[test] cannot write in"), std::string::npos);
  fs::create_directory(directory_ / "folder");
  write("folder/inside", "");
  EXPECT_NE(refusal([&] { put(directory_ / "folder", "x"); }), "accepted");
  EXPECT_TRUE(fs::is_directory(directory_ / "folder"));
  EXPECT_EQ(files(), 1);
}

}  // namespace
