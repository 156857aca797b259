#include "command.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <system_error>

#include "trine/device.h"
#include "trine/precision.h"

namespace trine::cli {

namespace {

class ExampleFirst : public CLI::Formatter {
 public:
  explicit ExampleFirst(std::string example) : example_(std::move(example)) {}

  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    return "  " + example_ + "\n\n" + CLI::Formatter::make_help(app, std::move(name), mode);
  }

 private:
  std::string example_;
};

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

std::size_t length(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

}  // namespace

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& purpose, const std::string& example,
                      CommonOptions& options) {
  CLI::App* command = app.add_subcommand(name, purpose);
  command->formatter(std::make_shared<ExampleFirst>(example));
  command->add_option("--model", options.model, "Folder of a model or of one encoder; without it the default model")
      ->type_name("DIR");
  command->add_option("--threads", options.threads, "Threads to compute with")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option_function<std::string>(
          "--device", [](const std::string& asked) { static const LoadDevice of_the_command(device(asked)); },
          "Where encoders compute: cpu, cuda, cuda:1, or auto for CUDA where there is any")
      ->type_name("NAME")
      ->check([](const std::string& asked) -> std::string {
        try {
          device(asked);
        } catch (const std::invalid_argument& error) {
          return error.what();
        }
        return "";
      });
  command
      ->add_option_function<std::string>(
          "--precision", [](const std::string& asked) { static const LoadPrecision of_the_command(precision(asked)); },
          "What encoders compute with: fp32, bf16, int8 (cpu), fp16 (cuda), or auto for the fastest here that is "
          "accurate "
          "enough")
      ->type_name("NAME")
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "int8", "fp16"}));
  command->add_flag("--json", options.json, "Machine-readable output");
  return command;
}

void add_weights(CLI::App& command, QueryWeights& weights) {
  const auto read = [&weights](const std::vector<std::string>& pairs) {
    for (const std::string& pair : pairs) {
      const std::size_t cut = pair.find('=');
      const std::string name = pair.substr(0, cut);
      float value = 0;
      const char* end = pair.data() + pair.size();
      const auto [rest, error] = std::from_chars(pair.data() + std::min(cut, pair.size() - 1) + 1, end, value);
      float* weight = name == "image"   ? &weights.image
                      : name == "text"  ? &weights.text
                      : name == "audio" ? &weights.audio
                                        : nullptr;
      if (cut == std::string::npos || weight == nullptr || error != std::errc() || rest != end ||
          !std::isfinite(value)) {
        throw CLI::ValidationError("--weights", "wanted image=1,text=1,audio=0.5 or a part of it, got " + pair);
      }
      *weight = value;
    }
  };
  command
      .add_option_function<std::vector<std::string>>(
          "--weights", read, "What each modality counts: image=1,text=1,audio=0.5; negative: away from it")
      ->type_name("M=W,...")
      ->delimiter(',')
      ->allow_extra_args(false);
}

Embedder load_model(const CommonOptions& options, const std::vector<Modality>& modalities) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  if (!modalities.empty()) return Embedder::load(options.model, modalities);
  return options.model.empty() ? Embedder::load() : Embedder::load(options.model);
}

std::optional<double> since_start() {
#ifdef __linux__
  constexpr int kStartTime = 22;  // of the fields of /proc/self/stat, of which the second ends with a parenthesis
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line.substr(std::min(line.rfind(')'), line.size() - 1) + 1));
  std::string field;
  for (int i = 3; i <= kStartTime; ++i) fields >> field;
  timespec now{};
  double ticks = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), ticks);
  if (fields.fail() || error != std::errc() || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
  const double started = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  return 1000 * (static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - started);
#else
  return std::nullopt;
#endif
}

std::string text_argument(const std::string& argument) {
  if (argument != "-") return argument;
  std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

void say(const std::string& sentence) { std::cerr << sentence << '\n'; }

void say_coverage(Modality modality, const std::string& input, const Coverage& coverage) {
  const auto length = [modality](double amount) {
    return modality == Modality::audio ? fixed(amount, 1) + " s" : fixed(amount, 0) + " tokens";
  };
  const std::string subject = "The " + std::string(to_string(modality)) + " \"" + one_line(input) + "\" has " +
                              length(coverage.total) + " and was ";
  if (coverage.used < coverage.total) say(subject + "cut at " + length(coverage.used) + ".");
  if (coverage.windows.size() > 1) {
    say(subject + "embedded in " + std::to_string(coverage.windows.size()) + " windows.");
  }
}

void print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (!written && errno != EPIPE) throw std::system_error(errno, std::generic_category(), "[trine] writing to stdout");
}

void print(const Json& json) { print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"); }

double number(float value) {
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  double shortest = 0;
  std::from_chars(digits, end, shortest);
  return shortest;
}

std::string fixed(double value, int decimals) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.*f", decimals, value);
  return digits;
}

std::string one_line(const std::string& text, std::size_t limit) {
  std::string line;
  std::size_t characters = 0;
  for (const char byte : text) {
    if (begins_character(byte) && ++characters > limit) return line + "...";
    const auto value = static_cast<unsigned char>(byte);
    line += value < 0x20 || value == 0x7F ? ' ' : byte;
  }
  return line;
}

std::vector<std::string> aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], length(row[i]));
  }
  std::vector<std::string> lines;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i] + (i + 1 < row.size() ? std::string(widths[i] - length(row[i]) + 2, ' ') : "");
    }
    lines.push_back(line);
  }
  return lines;
}

}  // namespace trine::cli
