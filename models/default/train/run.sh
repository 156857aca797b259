#!/usr/bin/env bash
# Trains the default model from the data and from synthesised speech: `make train-default`.
#
#   BUILD=build/release PYTHON=.venv/bin/python WORK=build/training DATA=../shared/data models/default/train/run.sh
#
# Two to three hours on two cores, resumable at any point: every step keeps what it has made in WORK.
set -euo pipefail
cd "$(dirname "$0")/../../.."
BUILD=${BUILD:-build/release} PYTHON=${PYTHON:-python3} WORK=${WORK:-build/training} DATA=${DATA:-../shared/data}
MODEL=models/default
step() { printf '\n== %s\n' "$*" >&2; }

[ -d "$DATA/grocery" ] || { echo "There is no $DATA/grocery: set DATA to the folder with the training data." >&2; exit 1; }
mkdir -p "$WORK"

step "encoders"
ENCODERS=$("$PYTHON" python/trine/fetch.py --json)
folder() { "$PYTHON" -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$ENCODERS" "$1"; }
TEXT=$(folder all-MiniLM-L6-v2) IMAGE=$(folder tf_efficientnet_lite0) AUDIO=$(folder whisper-tiny.en)

step "image tower"
"$BUILD/bin/train_image" --encoder "$IMAGE" --text-encoder "$TEXT" --catalogue $MODEL/catalogue.jsonl \
  --data "$DATA/grocery" --run "$WORK/image" --out $MODEL/image.safetensors | tee -a "$WORK/image.jsonl"

step "speech corpus"
"$PYTHON" $MODEL/train/synthesise.py --out "$WORK/corpus" --data "$DATA" --jobs 2

step "speech head"
"$BUILD/bin/train_speech" --encoder "$AUDIO" --text-encoder "$TEXT" --catalogue $MODEL/catalogue.jsonl \
  --corpus "$WORK/corpus" --noise "$DATA/sounds_esc10" --cache "$WORK/features" --run "$WORK/speech" \
  --out "$WORK/head.safetensors" | tee -a "$WORK/speech.jsonl"

step "the speech encoder's last blocks"
"$BUILD/bin/tune_speech" --encoder "$AUDIO" --text-encoder "$TEXT" --catalogue $MODEL/catalogue.jsonl \
  --corpus "$WORK/corpus" --noise "$DATA/sounds_esc10" --head "$WORK/head.safetensors" --run "$WORK/speech-tower" \
  --out $MODEL/audio.safetensors | tee -a "$WORK/speech-tower.jsonl"

step "catalogue with picture vectors"
"$PYTHON" $MODEL/train/add_pictures.py $MODEL/catalogue.jsonl "$DATA/grocery" > "$WORK/catalogue.jsonl"
"$BUILD/bin/trine" index "$WORK/catalogue.jsonl" --model $MODEL --out $MODEL/catalogue.trine

step "trust in transcripts"
export PYTHONPATH=$BUILD/python${PYTHONPATH:+:$PYTHONPATH} TRINE_MODEL=$PWD/$MODEL
"$PYTHON" $MODEL/evaluation/make_manifests.py "$DATA" "$WORK/corpus" "$WORK/val" --split val
"$PYTHON" $MODEL/train/fit_hearing.py "$WORK/val"

step "emotions of voices, and sounds"
"$BUILD/bin/train_clip_heads" --model $MODEL --data "$DATA" | tee "$WORK/clip-heads.log"

if "$PYTHON" -c "import safetensors, transformers" 2>"$WORK/import.log"; then
  step "emotions of texts"
  "$PYTHON" $MODEL/train/train_text_emotion.py --encoder "$TEXT" --data "$DATA/text_emotion_goemotions" \
    --run "$WORK/text-emotion" --out $MODEL/emotion-text.safetensors | tee "$WORK/text-emotion.jsonl"
else
  echo "The head for emotions of texts stays as it is: training it needs transformers ($PYTHON -m pip install transformers)." >&2
fi

step "calibration"
"$BUILD/bin/calibrate" --model $MODEL --photos "$DATA/grocery" --corpus "$WORK/corpus" --noise "$DATA/sounds_esc10"

step "temporal model of videos"
"$PYTHON" $MODEL/train/train_video.py --data "$DATA" --corpus "$WORK/corpus" --work "$WORK/video" --out $MODEL/video \
  2> >(tee -a "$WORK/video.jsonl" >&2)
