PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 10

setup: $(STAMP)  ## install into .venv, and nothing else

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

run: setup  ## the main job on synthetic clips: search, confirm the best trial, write the page to look at
	$(BIN)/mer-search run --study demo
	$(BIN)/mer-search confirm --study-name demo
	$(BIN)/mer-search report --study-name demo

test: setup  ## run the tests
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup  ## check style and security, and look for advisories about what is installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python dev/audit.py

types: setup  ## check types, strictly
	$(BIN)/mypy mer_search

docs: setup  ## write the reference of study files and of the Python API anew
	$(BIN)/python dev/reference.py docs

bench: setup  ## measure training, and what is not training, on this machine
	$(BIN)/mer-search bench

gpu: setup  ## test and measure training on this machine's GPU, some ten minutes; writes gpu.txt, which we would like to see
	$(BIN)/pytest -n 4 -m cuda tests/test_cuda.py > gpu.txt; tests=$$?; \
	$(BIN)/mer-search bench --full --device cuda --json >> gpu.txt; measured=$$?; \
	cat gpu.txt; exit $$((tests + measured))

clean:  ## delete what make made, and runs/; keep the study's database
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis runs

.PHONY: help setup run test lint types docs bench gpu clean
