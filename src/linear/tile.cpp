#include "linear/tile.h"

#include <cstring>
#include <initializer_list>

#include "detail/cpu.h"

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
  static const TileLoops* const chosen = [] {
    const TileLoops* found = nullptr;
    for (const char* name : {"avx512vnni", "avx512", "avxvnni", "avx2"}) {
      if (found == nullptr) found = tile_loops_named(name);
    }
    return found;
  }();
  return chosen;
}

}  // namespace trine::detail
