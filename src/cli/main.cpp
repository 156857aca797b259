#include <c10/util/Exception.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>

#include "command.h"

namespace trine::cli {

// The commands in the order of the help, one file each.
using AddCommand = void(CLI::App& app);
AddCommand add_embed, add_transcribe, add_index, add_search, add_ask, add_video, add_classify, add_describe, add_train,
    add_evaluate, add_advise, add_convert, add_verify, add_bench;
constexpr AddCommand* kCommands[] = {add_embed,  add_transcribe, add_index,    add_search, add_ask,
                                     add_video,  add_classify,   add_describe, add_train,  add_evaluate,
                                     add_advise, add_convert,    add_verify,   add_bench};

namespace {

/// The sentence of an error; torch's own carry a stack trace behind it.
std::string sentence_of(const std::exception& error) {
  if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
    const std::string message = torch_error->what_without_backtrace();
    return "[torch] " + message.substr(0, message.find('\n'));
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "[trine] there is not enough memory";
  std::string message = error.what();
  const std::string prefix = "filesystem error: ";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

int run(int argc, char** argv) {
  CLI::App app(
      "  trine search --image photo.jpg --text \"a ripe one\" --audio question.wav\n\n"
      "Images, text and audio in one vector space: embed them, search products with them, and be told why.",
      "trine");
  app.set_version_flag("--version", "trine " TRINE_VERSION);
  app.require_subcommand(1);
  for (AddCommand* add : kCommands) add(app);
  app.footer("trine COMMAND --help tells more.");
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    say(sentence_of(error));
    return 1;
  }
}

}  // namespace
}  // namespace trine::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // `trine ... | head` ends quietly, see print()
  const int code = trine::cli::run(argc, argv);
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);  // taking torch apart would take half as long as loading it
}
