#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trine/embedder.h"

/// What the commands share. A command is one file with `void add_NAME(CLI::App& app)`, listed in main.cpp.

namespace trine::cli {

using Json = nlohmann::ordered_json;

struct CommonOptions {
  std::string model;  ///< a folder; empty: the default model
  int threads = 0;    ///< 0: as many as torch takes
  bool json = false;
};

/// A command with --model, --threads and --json. Its help begins with `example`.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& purpose, const std::string& example,
                      CommonOptions& options);
/// --weights image=1,text=1,audio=0.5
void add_weights(CLI::App& command, QueryWeights& weights);

/// `modalities`: those whose towers are wanted; none: all.
Embedder load_model(const CommonOptions& options, const std::vector<Modality>& modalities = {});

/// Milliseconds since the system started this process, most of them for loading libraries; none where it does not say.
std::optional<double> since_start();

/// The text of a --text option: "-" stands for what comes on stdin.
std::string text_argument(const std::string& argument);

/// One line on stderr.
void say(const std::string& sentence);
/// Says where an input was cut, or that it was embedded in several windows.
void say_coverage(Modality modality, const std::string& input, const Coverage& coverage);

/// To stdout; a reader that has gone away is no error.
void print(const std::string& text);
void print(const Json& json);

/// The shortest decimal that gives this float back.
double number(float value);
std::string fixed(double value, int decimals);
/// A text for one line of a terminal: control characters become blanks; `limit` characters of it.
std::string one_line(const std::string& text, std::size_t limit = 60);
/// Rows of cells as lines with aligned columns.
std::vector<std::string> aligned(const std::vector<std::vector<std::string>>& rows);

/// Milliseconds since it was made or last asked.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double passed = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return passed;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace trine::cli
