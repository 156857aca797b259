#!/usr/bin/env bash
# A first search: `make demo`, or
#
#   PHOTO=photo.jpg TEXT="the red one" VOICE=question.wav examples/first_search/run.sh
#
# Without any of the three it takes samples: a photo of a lemon, words, and a question that espeak-ng speaks.
#   BUILD, PYTHON   the build folder and the interpreter; default: build/release and what set-up chose
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-$root/build/release} python=${PYTHON:-$(cat "$root/build/python")}
photo=${PHOTO:-} text=${TEXT:-} voice=${VOICE:-}
trine=$build/bin/trine
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "$photo$text$voice" ]; then
  text="something sour to squeeze over fish"
  for photo in "$root"/../shared/data/grocery/test/08/*.jpg ""; do
    [ ! -e "$photo" ] || break
  done
  if [ -z "$photo" ]; then
    photos=$("$python" "$here/get_samples.py") || echo "Going on without a photo." >&2
    photo=$(grep '/lemon\.png$' <<<"$photos" || true)
  fi
  question="where can I find lemons"
  if command -v espeak-ng >/dev/null; then
    voice=$work/question.wav
    espeak-ng -v en-us -s 150 -w "$voice" "$question"
  else
    echo "There is no espeak-ng to speak a question; going on without it." >&2
  fi
fi

query=()
echo "The query:"
if [ -n "$photo" ]; then query+=(--image "$photo"); echo "  photo  $(realpath --relative-to=. "$photo")"; fi
if [ -n "$text" ]; then query+=(--text "$text"); echo "  text   $text"; fi
if [ -n "$voice" ]; then query+=(--audio "$voice"); echo "  voice  ${question:-$voice}"; fi

echo
echo "At the terminal: trine search ... -k 5"
"$trine" search "${query[@]}" -k 5

echo
echo "From Python: examples/first_search/first_search.py"
if [ -d "$build/python/trine" ]; then
  PYTHONPATH=$build/python "$python" "$here/first_search.py" "$photo" "$text" "$voice"
else
  echo "  (not built: cmake --build $build --target _trine)"
fi

echo
echo "From C++: examples/first_search/first_search.cpp"
if [ -x "$build/bin/first_search" ]; then
  "$build/bin/first_search" "$photo" "$text" "$voice"
else
  echo "  (not built: cmake --build $build --target first_search)"
fi

cat <<NEXT

What to try next:
  your own question    make demo PHOTO=photo.jpg TEXT="the red one" VOICE=question.wav
  another weighting    $trine search --image photo.jpg --text "a sour one" --weights image=1,text=2
  your own products    $trine index catalogue.jsonl --out products.trine
  what the model does  $trine describe
NEXT
