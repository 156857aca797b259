#include "linear/tile.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "detail/cpu.h"
#include "detail/error.h"

namespace trine::detail {

const TileLoops* tile_loops_named(const char* name) {
#ifdef __x86_64__
  const auto is = [name](const TileLoops& loops) { return std::strcmp(name, loops.name) == 0; };
  const Instructions has = instructions();
  if (has >= Instructions::avx2 && is(kAvx2Tiles)) return &kAvx2Tiles;
  if (has >= Instructions::avx2 && has_avx_vnni() && is(kAvxVnniTiles)) return &kAvxVnniTiles;
  if (has >= Instructions::avx512 && is(kAvx512Tiles)) return &kAvx512Tiles;
  if (has >= Instructions::avx512_vnni && is(kAvx512VnniTiles)) return &kAvx512VnniTiles;
#endif
  return nullptr;
}

const TileLoops* tile_loops() {
  static const TileLoops* const chosen = []() -> const TileLoops* {
    if (const char* wanted = std::getenv("TRINE_LINEAR_KERNELS")) {
      if (std::strcmp(wanted, "none") == 0) return nullptr;
      if (const TileLoops* found = tile_loops_named(wanted)) return found;
      bad_argument("TRINE_LINEAR_KERNELS",
                   "wanted none, or avx2, avxvnni, avx512 or avx512vnni where the processor has ", "them, got ",
                   wanted);
    }
    for (const char* name : {"avx512vnni", "avx512", "avxvnni", "avx2"}) {
      if (const TileLoops* found = tile_loops_named(name)) return found;
    }
    return nullptr;
  }();
  return chosen;
}

}  // namespace trine::detail
