# Each command sets up what it needs; a second run does nothing slow. `make help` lists them.
SHELL := /bin/bash
BUILD := build/release
python = "$$(cat build/python)"
export PHOTO TEXT VOICE PYTHON WERROR JOBS

.PHONY: help setup demo test asan train-default evaluate-default clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):  *## /    make \1	/p' Makefile | expand -t 28
	@echo "PYTHON=/path/to/python3 chooses the interpreter, JOBS=N the number of compilers."

setup:  ## system packages, Python environment, build, encoders
	@tools/setup
	@echo "Ready. Try: make demo, make test, or $(BUILD)/bin/trine --help"

demo:  ## a first search; your own with PHOTO=photo.jpg TEXT="the red one" VOICE=question.wav
	@TARGETS="trine_cli _trine first_search" tools/setup
	@BUILD=$(BUILD) PYTHON=$(python) examples/first_search/run.sh

test:  ## C++ and Python tests
	@tools/setup
	@$(python) tools/test --build $(BUILD)

asan:  ## trine_core's tests under AddressSanitizer and UBSan
	@tools/setup packages
	cmake --preset asan && cmake --build --preset asan && ctest --preset asan

train-default:  ## trains the default model's heads anew
	@tools/setup
	@BUILD=$(BUILD) PYTHON=$(python) models/default/train/run.sh

evaluate-default:  ## measures the default model on held-out data
	@tools/setup
	@BUILD=$(BUILD) PYTHON=$(python) models/default/evaluation/run.sh

clean:  ## removes the builds; .venv and the fetched encoders stay
	rm -rf build
