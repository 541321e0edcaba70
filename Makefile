# The dependency graph: run record <- notebook + zs3lib + data; tables and figure <- run records.
# `make help` lists the targets. Restrict or change the grid: make tables PROFILE=paper DATASETS=voc K="6 10" SEED=1

PROFILE  ?= toy
DATASETS ?= voc context
K        ?= 2 4 6 8 10
SEED     ?= 0
PARAMS   ?=# more settings of the train notebook, e.g. PARAMS="-p data_root /data/voc -p device cpu"
JOBS     ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

SHELL := /bin/bash
unexport PYTHONDONTWRITEBYTECODE  # each of a grid's processes would compile torch, gensim and scipy anew
.DELETE_ON_ERROR:
.SUFFIXES:

# ---- environment: the active conda environment (other than base), or .venv built with uv ------------------------------
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
BIN     := $(CONDA_PREFIX)/bin
READY   := $(CONDA_PREFIX)/.zs3lib-installed
INSTALL  = $(BIN)/python -m pip install -q -e '.[test]'
else
BIN     := .venv/bin
READY   := .venv/.zs3lib-installed
UV      := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
GET_UV   = test -x $(UV) || { python3 -m venv .uv && .uv/bin/python -m pip install -q uv; }
INSTALL  = { $(GET_UV); } && $(UV) venv -q --allow-existing .venv && $(UV) pip install -q --python $(BIN)/python -e '.[test]'
endif
PYTHON := $(BIN)/python

$(READY): pyproject.toml
	@echo "Installing into $(dir $@) (several GB of torch at first use)"
	@$(INSTALL)
	@touch $@

# ---- what depends on what ---------------------------------------------------------------------------------------------
RUNS    := runs/$(PROFILE)
TABLES  := tables/$(PROFILE)
FIGURES := figures/$(PROFILE)
READERS := zs3lib/tables.py zs3lib/records.py zs3lib/audit.py zs3lib/claims.py zs3lib/figure3.py zs3lib/notebooks.py \
           zs3lib/statistics.py zs3lib/protocols.py zs3lib/report.py zs3lib/options.py zs3lib/__main__.py \
           zs3lib/data/download.py zs3lib/data/catalogue.py zs3lib/data/fetch.py \
           zs3lib/pictures.py zs3lib/finished.py zs3lib/new_classes.py zs3lib/diagnose.py zs3lib/plane.py
PLOTS   := $(wildcard zs3lib/plots/*.py)
TOY     := $(filter-out zs3lib/toy/strangers.py,$(wildcard zs3lib/toy/*.py))
CODE    := $(filter-out $(READERS) $(TOY),$(wildcard zs3lib/*.py zs3lib/data/*.py))
DATA    := $(if $(filter toy,$(PROFILE)),data/toy/ready)
record   = $(RUNS)/$(1)-k$(2)-s$(3)$(if $(filter strict,$(4)),-strict)/metrics.json
# Context's runs take longest and come first: no core is left alone with one at the end.
RECORDS := $(foreach d,$(sort $(DATASETS)),$(foreach k,$(K),$(foreach s,$(SEED),$(call record,$(d),$(k),$(s),paper))))
# Both protocols: VOC at K = 10 where the command line says nothing else.
ASKED    = $(if $(findstring command,$(origin $(1))),$($(1)),$(2))
PAIRS   := $(foreach d,$(call ASKED,DATASETS,voc),$(foreach k,$(call ASKED,K,10),$(foreach s,$(SEED),\
             $(foreach p,paper strict,$(call record,$(d),$(k),$(s),$(p))))))
FIG3    := $(firstword $(foreach s,$(SEED),$(filter $(RUNS)/voc-k10-s$(s)/metrics.json,$(RECORDS))))
# What the report holds besides tables, Fig. 3 and the trainings: notebooks that explain, and that ask a finished run.
STORIES := $(patsubst %,$(RUNS)/%.ipynb,$(filter $(basename $(notdir $(wildcard notebooks/*.ipynb))),method data new_class diagnose))
ASKING  := $(wildcard $(addprefix zs3lib/,statistics.py figure3.py finished.py new_classes.py diagnose.py plane.py toy/strangers.py))
PAGES   := $(RUNS)/tables.ipynb $(if $(FIG3),$(RUNS)/figure3.ipynb) $(STORIES) $(RECORDS:metrics.json=train.ipynb)
# Threads for each job, from the number of jobs that make runs at a time.
THREADS  = $$(( n = $(JOBS) / $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),1), n > 0 ? n : 1 ))
NOTEBOOK = OMP_NUM_THREADS=$(THREADS) $(PYTHON) -m zs3lib.notebooks

.PHONY: help setup data tables protocol figure report lab bench scaling test test-kill test-browser lint clean all-tables FORCE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  settings: PROFILE=toy|lite|paper  DATASETS="voc context"  K="2 4 6 8 10"  SEED="0"  PARAMS="-p name value ..."'

setup: $(READY)  ## install everything into .venv (or the active conda environment)

data: $(READY)  ## build the toy world; with PROFILE=paper or lite download real data, weights and word vectors
ifeq ($(PROFILE),toy)
	@$(MAKE) --no-print-directory data/toy/ready
else
	@$(PYTHON) -m zs3lib.data.download --profile $(PROFILE) --datasets $(DATASETS)
endif

tables: $(READY)  ## train what is missing, then Tables I-III and Fig. 3
	@$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS)) all-tables
	@cat $(TABLES)/table1.txt
	@echo; echo "Tables: $(TABLES)/table{1,2,3}.{md,csv,tex}$(if $(FIG3),   Figure 3: $(FIGURES)/fig3.png and .pdf)   Runs: $(RUNS)/"

all-tables: $(TABLES)/table1.txt $(if $(FIG3),$(FIGURES)/fig3.png)

protocol: $(READY)  ## train what is missing under both protocols (VOC, K = 10), then one table of both
	@$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS)) $(TABLES)/protocol.md
	@cat $(TABLES)/protocol.md

figure: $(READY)  ## Fig. 3 alone
	@$(MAKE) --no-print-directory $(FIGURES)/fig3.png

report: $(READY)  ## the executed notebooks as HTML, and an index with tables and figures: report/index.html
	@$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS)) report/index.html

data/toy/ready: $(TOY)
	@OMP_NUM_THREADS=$(JOBS) $(PYTHON) -m zs3lib.toy --root data/toy
	@touch $@

define RECORD
$(call record,$(1),$(2),$(3),$(4)): notebooks/train.ipynb $$(CODE) $$(DATA)$(if $(filter strict,$(4)), | $(call record,$(1),$(2),$(3),paper))
	@$$(NOTEBOOK) $$< $$(@D)/train.ipynb -p profile $(PROFILE) -p dataset $(1) -p k $(2) -p seed $(3) -p protocol $(4) $$(PARAMS)
endef
$(foreach d,$(DATASETS),$(foreach k,$(K),$(foreach s,$(SEED),$(foreach p,paper strict,$(eval $(call RECORD,$(d),$(k),$(s),$(p)))))))

# The tables and the report change when other runs are asked for, even where no run is newer.
GRID := $(PROFILE) / $(DATASETS) / $(K) / $(SEED)
$(TABLES)/.grid report/.grid: FORCE
	@mkdir -p $(@D); echo "$(GRID)" | cmp -s - $@ || echo "$(GRID)" > $@

$(TABLES)/table1.txt: notebooks/tables.ipynb zs3lib/tables.py zs3lib/records.py zs3lib/audit.py zs3lib/claims.py $(PLOTS) $(RECORDS) $(TABLES)/.grid
	@$(NOTEBOOK) $< $(RUNS)/tables.ipynb -p profile $(PROFILE) -p ks "$(K)" -p datasets "$(DATASETS)" -p seeds "$(SEED)"
	@touch $@

$(TABLES)/protocol.md: zs3lib/protocols.py zs3lib/records.py zs3lib/audit.py zs3lib/claims.py $(PAIRS)
	@$(PYTHON) -m zs3lib.protocols --profile $(PROFILE) >/dev/null
	@touch $@

$(FIGURES)/fig3.png: notebooks/figure3.ipynb zs3lib/figure3.py zs3lib/statistics.py $(PLOTS) $(FIG3)
	@$(NOTEBOOK) $< $(RUNS)/figure3.ipynb -p profile $(PROFILE) -p seed $(firstword $(SEED))
	@touch $@

$(STORIES): $(RUNS)/%.ipynb: notebooks/%.ipynb $(CODE) $(ASKING) $(PLOTS) $(DATA) $(FIG3)
	@$(NOTEBOOK) $< $@ $(if $(filter-out method,$*),-p profile $(PROFILE))

# The README's pictures: the first one below a heading.
PICTURES := $(if $(filter toy,$(PROFILE)),$(patsubst $(RUNS)/%.ipynb,$(FIGURES)/%.png,$(filter-out %/data.ipynb,$(STORIES))))
figures/toy/new_class.png: HEADING = The picture
figures/toy/diagnose.png:  HEADING = Real against generated features
figures/toy/method.png:    HEADING = 9. Before and after the recursion
$(PICTURES): figures/toy/%.png: runs/toy/%.ipynb zs3lib/pictures.py
	@$(PYTHON) -m zs3lib.pictures $< "$(HEADING)" $@

# A training whose record was not made by make has no executed notebook, and so no page: `find` passes on those that exist.
report/index.html: $(TABLES)/table1.txt $(if $(FIG3),$(FIGURES)/fig3.png) $(STORIES) $(PICTURES) $(RECORDS) zs3lib/report.py zs3lib/tables.py \
                   zs3lib/records.py $(wildcard zs3lib/resources/report/*) report/.grid
	@rm -f report/*.html
	@$(PYTHON) -m zs3lib.report $$(find $(PAGES) -maxdepth 0 2>/dev/null) --out report --profile $(PROFILE) --ks $(K) \
	  --datasets $(DATASETS) --seeds $(SEED)

lab: $(READY)  ## step through the notebooks in JupyterLab, on this machine alone (localhost, with a token)
	@$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.allow_remote_access=False notebooks

bench: $(READY)  ## ratios against the plain loop, memory, bf16: tables/bench.md (minutes)
	@$(PYTHON) benchmarks/bench.py

scaling: $(READY)  ## how time and memory grow: tables/scaling.md, figures/scaling.png (minutes)
	@$(PYTHON) benchmarks/scaling.py

test: $(READY)  ## run the tests
	@$(PYTHON) -m pytest

test-kill: $(READY)  ## kill 20 tiny runs at random moments, resume each, compare every digit
	@$(PYTHON) tests/interruptions.py --kills 20

test-browser: $(READY)  ## every notebook, as it is, in JupyterLab with chromium; pictures in screenshots/
	@ZS3_BROWSER=defaults $(PYTHON) -m pytest tests/browser

lint: $(READY)  ## ruff over code and notebooks; notebooks are committed without outputs
	@$(BIN)/ruff check zs3lib tests notebooks && $(BIN)/ruff format --check --quiet zs3lib tests notebooks
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb || { echo 'clear the outputs: $(BIN)/nbstripout --keep-id notebooks/*.ipynb'; exit 1; }

clean:  ## remove runs, caches, the toy world, and toy tables and figures
	rm -rf runs/toy cache data/toy tables/toy figures/toy report screenshots
