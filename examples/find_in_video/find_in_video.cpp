// find_in_video CLIP TEXT: the three moments of a video that fit a text best, and why.

#include <cstdio>
#include <exception>

#include "trine/trine.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "find_in_video CLIP TEXT\n");
    return 2;
  }
  try {
    const trine::VideoSearch search;  // the default model
    const trine::WatchedVideo video = search.watch(argv[1]);
    for (const std::string& note : video.notes) std::fprintf(stderr, "%s\n", note.c_str());
    for (const trine::Moment& moment : search.find(video, argv[2], {.k = 3})) {
      std::printf("%.1f to %.1f s (%.2f): %s\n", moment.start, moment.end, moment.score, moment.reasons().c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
