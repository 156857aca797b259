#!/usr/bin/env bash
# Measures the default model on held-out data and prints one Markdown table.
#
#   models/default/evaluation/run.sh [--split val] [--model DIR]
#
# `--split val` is for choices, test (the default) for the report.
#   BUILD, PYTHON   the build folder and the interpreter; default: build/release and what set-up chose
#   DATA            the data sets; default: ../shared/data
#   CORPUS          the speech corpus; default: build/training/corpus, made there if it is missing (ten minutes)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
build=${BUILD:-build/release} python=${PYTHON:-$(cat build/python)} data=${DATA:-../shared/data}
corpus=${CORPUS:-build/training/corpus} split=test model=()
while [ $# -gt 0 ]; do
  case $1 in
    --split) split=${2:?} ;;
    --model) model=(--model "${2:?}") ;;
    *) echo "unknown option $1: wanted --split val|test or --model DIR" >&2; exit 2 ;;
  esac
  shift 2
done
[ -f "$data/grocery/$split.csv" ] || { echo "There is no $data/grocery/$split.csv: set DATA to the data sets." >&2; exit 1; }
export PYTHONPATH=$build/python${PYTHONPATH:+:$PYTHONPATH}
[ -f "$corpus/manifest.jsonl" ] || "$python" models/default/train/synthesise.py --out "$corpus" --data "$data" >&2

out=$build/evaluation/$split
"$python" models/default/evaluation/make_manifests.py "$data" "$corpus" "$out" --split "$split" >&2

# figure WHAT MANIFEST [OPTION]: the rows of one manifest.
figure() {
  local what=$1 manifest=$2 option=${3:-}  # options are words without blanks
  [ -f "$out/$manifest" ] || return 0
  echo "--- $what" >&2
  "$build/bin/trine" evaluate "${model[@]}" $option "$out/$manifest" --json >"$out/${manifest%.jsonl}.json"
  "$python" - "$what" "trine evaluate $option $manifest" "$out/${manifest%.jsonl}.json" <<'PYTHON'
import json
import sys

what, command, path = sys.argv[1:]
with open(path) as file:
    report = json.load(file)
for row in report["results"]:
    low, high = row["interval"]
    how = row["rerank"].replace("yes", "re-ranked").replace("no", "not re-ranked", 1)
    query = row["query"] + (", " + how if how else "")
    numbers = f"{row['top1']:.3f} | {low:.3f} to {high:.3f} | {row['top5']:.3f} | {row['top10']:.3f} | {row['mrr']:.3f}"
    numbers += f" | {row['conflict']:.3f} | {row['nothing']:.3f}"
    print(f"| {what} | {query} | {row['set']} | {row['count']} | {numbers} | {report['chance']:.4f} | `{' '.join(command.split())}` |")
PYTHON
}

echo "Split: $split."
echo
echo "| figure | query | set | count | top-1 | 95 % interval | top-5 | top-10 | MRR | conflict | nothing | chance | command |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
figure "photo" photo.jsonl
figure "typed name, unseen phrasing" typed.jsonl
figure "free description" described.jsonl
figure "photo and name with two typing errors" photo-misspelt.jsonl --compare
figure "voice" voice-clean.jsonl
figure "voice, noise at 10 dB" voice-10dB.jsonl
figure "voice, noise at 0 dB" voice-0dB.jsonl
figure "photo and voice" photo-voice-clean.jsonl --compare
figure "photo and voice, noise at 10 dB" photo-voice-10dB.jsonl --compare
figure "photo and voice, noise at 0 dB" photo-voice-0dB.jsonl --compare
figure "photo, voice and name with two typing errors" photo-voice-misspelt.jsonl "--reliability $out/reliability.svg"
figure "photo and the typed name of another product" contradicting-text.jsonl
figure "photo and the spoken name of another product" contradicting-voice.jsonl
figure "speech tower and transcript" heard-clean.jsonl --hear
figure "speech tower and transcript, noise at 10 dB" heard-10dB.jsonl --hear
figure "speech tower and transcript, noise at 0 dB" heard-0dB.jsonl --hear
figure "spoken sentence among all" sentences.jsonl "--hear --retrieval"

echo "--- what the catalogue lacks" >&2
"$build/bin/trine" evaluate "${model[@]}" --lacking "$out/lacking.jsonl" --json >"$out/lacking.json"
"$python" - "$out/lacking.json" <<'PYTHON'
import json
import sys

print("\n| lacking | query | count | nothing matches | 95 % interval |\n|---|---|---|---|---|")
for row in json.load(open(sys.argv[1]))["results"]:
    low, high = row["interval"]
    print(f"| {row['set']} | {row['query']} | {row['count']} | {row['nothing']:.3f} | {low:.3f} to {high:.3f} |")
PYTHON

"$python" models/default/evaluation/head_manifests.py "$data" "$out" --split "$split" >&2

"$python" models/default/train/damage_pictures.py --photos "$data/grocery" --split "$split" --seed 2 --out "$out/damage" >&2
"$python" models/default/evaluation/render_clips.py "$data" "$corpus" "$out" --split "$split" >&2

# measure_head MANIFEST TASK [OPTION]: the rows of one head.
measure_head() {
  local manifest=$out/$1.jsonl option=${3:-} fit=()  # options are words without blanks
  local report=${manifest%.jsonl}$option.json
  [ ! -f "$out/$1-fit.jsonl" ] || fit=(--fit "$out/$1-fit.jsonl")
  echo "--- $1" >&2
  "$build/bin/trine" evaluate "${model[@]}" "$manifest" --task "$2" "${fit[@]}" $option --json >"$report"
  "$python" - "$1" "$2 $option" "$report" <<'PYTHON'
import json
import sys

name, task, path = sys.argv[1:]
task = task.strip()
with open(path) as file:
    rows = json.load(file)["results"]
for row in rows:
    interval = "{:.3f} to {:.3f}".format(*row["interval"]) if "interval" in row else ""
    chance = f"{row['chance']:.3f}" if "chance" in row else ""
    print(f"| {name} | {task} | {row['figure']} | {row['count']} | {row['value']:.3f} | {interval} | {chance} |")
PYTHON
}

printf '\n| head | task | figure | count | value | 95 %% interval | chance |\n|---|---|---|---|---|---|---|\n'
measure_head help-desk intent
measure_head banking77 intent
measure_head clinc150 intent
measure_head emotion emotion
measure_head emotion-labels emotion-labels
measure_head sound sound
measure_head voices voice-emotion --leave-out
measure_head damage/pictures damage
measure_head videos video
measure_head videos video --no-temporal
measure_head videos-told-otherwise video
measure_head videos-silent video
measure_head videos-uncaptioned video
measure_head sentences transcript
