# Everything lives in .venv; deleting it is the way to start afresh.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Linux users without a GPU may prefer a CPU build: make test TORCH="torch --index-url <one with CPU wheels>"
TORCH ?= torch==2.13.0
# Each process takes up to 1.2 GB. One that has nothing left takes over half of what another has still to do.
PARALLEL ?= -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test check docs light slow soak peers web weights picture clean

demo: $(VENV)/.installed
	@$(BIN)/u2net remove docs/images/coffee.jpg -o out/coffee.png --overwrite

# The report is written at the very end: without it a test has ended the process, whatever the exit code says. A test
# that ends a process of PARALLEL has failed.
test: $(VENV)/.complete
	@rm -f build/tests.xml
	$(BIN)/python -m pytest $(PARALLEL) --junitxml build/tests.xml
	@test -f build/tests.xml

check: $(VENV)/.complete
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

# The website: build/site/index.html. What torch and others are needed for is described without them.
docs: .venv-docs/.installed
	.venv-docs/bin/python -m sphinx -W --keep-going -q -c docs -d build/doctrees . build/site

# The package as users get it, without torch and web server, within its limits of number and size: what cuts out.
LIGHT := tests/cli tests/cutout tests/inference tests/models tests/test_distribution.py tests/test_privacy.py
light:
	$(PYTHON) -m venv --clear .venv-light
	.venv-light/bin/pip install -q . pytest pytest-xdist hypothesis
	.venv-light/bin/python -m pytest $(PARALLEL) $(LIGHT)

slow: $(VENV)/.complete
	$(BIN)/python -m pytest -m slow

# The service under load, for minutes; what was measured is shown.
soak: $(VENV)/.complete
	$(BIN)/pip install -q --group soak
	$(BIN)/python -m pytest -m soak -s tests/server

# Side by side with rembg, which gets an environment of its own.
peers: $(VENV)/.complete
	$(BIN)/python benchmarks/compat_rembg.py

# The package for npm: types checked, built, tested in Node, packed as web/u2net-web-….tgz. Needs Node 20 and npm.
web:
	cd web && npm ci --ignore-scripts && npm run build && npm test && npm pack --ignore-scripts

# make weights SOURCE=u2netp.onnx, the authors' file as rembg publishes it
weights: $(VENV)/.complete
	$(BIN)/python tools/make_weights.py $(SOURCE)

picture: $(VENV)/.installed
	$(BIN)/python tools/make_picture.py

clean:
	rm -rf $(VENV) .venv-docs .venv-light .peers build out web/node_modules web/build web/dist web/LICENSE web/NOTICE web/*.tgz

$(VENV)/.installed: pyproject.toml
	@echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --upgrade pip
	@$(BIN)/pip install -q -e .
	@touch $@

.venv-docs/.installed: pyproject.toml
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/pip install -q --upgrade pip
	.venv-docs/bin/pip install -q -e . --group docs
	@touch $@

$(VENV)/.complete: $(VENV)/.installed
	$(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q -e ".[train,openvino,eval,serve,ray,tiff,heif,video,litert,ncnn,coreml,hub]" --group check --group test
	@touch $@
