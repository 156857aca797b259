#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "command.h"

/// Commands that are modules of the Python package: they need torch's pickles or transformers.

namespace trine::cli {

namespace {

namespace fs = std::filesystem;

/// $TRINE_PYTHON, else the interpreter that we were built for, else the first on the PATH.
std::string interpreter() {
  if (const char* chosen = std::getenv("TRINE_PYTHON"); chosen != nullptr && *chosen != '\0') return chosen;
  return ::access(TRINE_PYTHON, X_OK) == 0 ? TRINE_PYTHON : "python3";
}

/// In a build tree the package lies beside the program's folder.
void find_package() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path().parent_path() / "python";
  if (error || !fs::exists(folder / "trine" / "__init__.py", error)) return;
  const char* others = std::getenv("PYTHONPATH");
  const std::string path = folder.string() + (others != nullptr && *others != '\0' ? ":" + std::string(others) : "");
  ::setenv("PYTHONPATH", path.c_str(), 1);
}

/// Becomes `python -m MODULE ARGUMENTS`.
[[noreturn]] void become(const std::string& module, const std::vector<std::string>& arguments) {
  find_package();
  const std::string python = interpreter();
  std::vector<std::string> words{python, "-m", module};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::execvp(python.c_str(), pointers.data());
  throw std::system_error(errno, std::generic_category(),
                          "[trine] " + python +
                              " could not be started; TRINE_PYTHON names a Python that has trine, and "
                              "there the command is: python -m " +
                              module);
}

void add_module(CLI::App& app, const std::string& name, const std::string& purpose) {
  CLI::App* command = app.add_subcommand(name, purpose);
  command->prefix_command();  // the module reads the arguments, --help too
  command->set_help_flag();
  command->callback([command, name] { become("trine." + name, command->remaining()); });
}

}  // namespace

void add_convert(CLI::App& app) {
  add_module(app, "convert", "safetensors of weights in .bin, .pt, .pth or .ckpt (Python)");
}

void add_verify(CLI::App& app) {
  add_module(app, "verify", "A checkpoint, stage by stage, against its reference implementation (Python)");
}

void add_bench(CLI::App& app) {
  add_module(app, "bench", "Speed on this machine, beside other libraries, in one interleaved run (Python)");
}

}  // namespace trine::cli
