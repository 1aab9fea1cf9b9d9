# The two commands of a fresh machine are `make demo` and `make test`. Each installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

# These rows of the cardiac table have three seeds, the others one.
CARDIAC_ROWS := no_adaptation,glua_style_only,sifa,glua_without_mask,glua,ceiling

.PHONY: demo results test test-slow lint install install-dev bench clean

demo: install
	$(BIN)/fewmask demo --out demo

# Hours on two cores; may be stopped and started again at any time.
results: install
	$(BIN)/fewmask study placenta --small --seeds 3 --precision 32 --out results/placenta
	$(BIN)/fewmask study cardiac --small --precision 32 --out results/cardiac
	$(BIN)/fewmask study cardiac --small --seeds 3 --precision 32 --rows $(CARDIAC_ROWS) --out results/cardiac
	$(BIN)/fewmask study fetal-brain --small --seeds 3 --precision bf16 --out results/fetal_brain
	$(BIN)/fewmask study cervix --small --seeds 3 --precision bf16 --out results/cervix

test: lint
	$(BIN)/pytest -n 2

test-slow: install-dev
	$(BIN)/pytest -m slow

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: install-dev
	$(BIN)/python benchmarks/surface_distance.py
	$(BIN)/python benchmarks/msl_step.py
	$(BIN)/python benchmarks/activation_maps.py
	$(BIN)/python benchmarks/geodesic.py
	$(BIN)/python benchmarks/pseudo_labels.py

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build
