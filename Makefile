# Everything runs in the project's own environment, which the first command makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.PHONY: bench-gpu quickstart test test-gpu lint types bench-cpu wheel clean

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install --quiet -e ".[test,lint]"
	@touch $@

quickstart: $(VENV)/.base  ## fused matmul and FlashAttention, checked against PyTorch
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.test  ## the whole suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

# On a machine with an NVIDIA GPU and a PyTorch that sees it: make test-gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python
test-gpu:  ## the tests that need an NVIDIA GPU; they skip where there is none
	$(GPU_PYTHON) -m pytest tests/device/gpu -m gpu

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/basedpyright

bench-gpu:  ## side by side with cuBLAS and FlashAttention-2 on an NVIDIA GPU; writes bench/results
	$(GPU_PYTHON) bench/gpu.py

bench-cpu: $(VENV)/.base  ## side by side with PyTorch on two threads; writes bench/results/cpu.json
	$(BIN)/python bench/cpu.py

wheel: $(VENV)/.test
	$(BIN)/python -m pip wheel --no-deps -w dist .

clean:
	rm -rf $(VENV) build dist *.egg-info
