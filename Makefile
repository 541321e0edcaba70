# The dependency graph: run record <- notebook + zs3lib + data; tables and figures <- run records.
# `make help` lists the targets. The grid: make tables PROFILE=paper DATASETS=voc K="6 10" SEED=1
PROFILE  ?= toy
BOTH     := $(filter protocol,$(MAKECMDGOALS))# is VOC at K = 10, unless more is asked for
DATASETS ?= $(if $(BOTH),voc,voc context)
K        ?= $(if $(BOTH),10,2 4 6 8 10)
SEED     ?= 0
LISTS    ?= $(if $(filter paper,$(PROFILE)),paper zs3net,paper)# of Context's unseen classes
PARAMS   ?=# of every training, as papermill takes them: PARAMS="-p data_root /data -p device cpu"
CORES    := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
JOBS     ?= $(CORES)
LAUNCH   ?=# goes before every training: a scheduler, another machine, a container (README)
ifneq ($(shell test "$(JOBS)" -gt 0 2>&1 || echo wrong),)
$(error JOBS="$(JOBS)": give a whole number from 1 on)
endif
MAKEFLAGS += -rj$(JOBS)
unexport PYTHONDONTWRITEBYTECODE# every process would compile torch anew
.DELETE_ON_ERROR:
.PHONY: help setup install valid data tables protocol figure report lab toy-backbone bench scaling \
        test test-kill test-browser lint clean FORCE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo '  settings: PROFILE=toy|lite|paper  DATASETS="voc context"  K="2 4 6 8 10"  SEED="0"'
	@echo '            LISTS="paper zs3net" of the unseen classes of Context'
	@echo '            PARAMS="-p name value ..."  JOBS=runs at a time'
	@echo '            LAUNCH="srun --gres=gpu:1 -c8" -j 20: trainings go to the machines of a cluster'

# ---- environment: the active conda environment (other than base), or .venv built with uv ---------
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
ENV    := $(CONDA_PREFIX)
INSTALL = $(PYTHON) -m pip install
else
ENV    := $(CURDIR)/.venv
UV     := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
INSTALL = "$(UV)" venv -q $(if $(MOVED),--clear,--allow-existing) .venv && \
          "$(UV)" pip install --python $(PYTHON)
endif
PYTHON  = "$(ENV)/bin/python"
READY   = "$(ENV)/.zs3lib-installed"# names the folder that the environment was set up for
MOVED   = $(filter-out $(CURDIR),$(shell cat $(READY) 2>/dev/null))
OLD    := $(shell grep -qsFx "$(CURDIR)" $(READY) && test $(READY) -nt pyproject.toml || echo yes)

.uv/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "To set up, install uv, or python3" \
	  "with its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@python3 -m venv --clear .uv && .uv/bin/python -m pip install -q uv
install: $(filter .uv/bin/uv,$(UV))
	@echo "Installing into $(ENV) (several GB of torch at first use)"
	@$(INSTALL) -q -e '.[test]' && echo "$(CURDIR)" > $(READY)
setup: $(if $(OLD),install)  ## install everything into .venv (or the active conda environment)
	@:

# ---- what depends on what ------------------------------------------------------------------------
RUNS    := runs/$(PROFILE)
TABLES  := tables/$(PROFILE)
FIGURES := figures/$(PROFILE)
DATA    := $(if $(filter toy,$(PROFILE)),data/toy/ready)
# Context's runs take longest and come first: no core is left alone with one at the end.
OTHERS  := $(patsubst %,-%,$(filter-out paper,$(LISTS)))
NAMES   := $(foreach d,$(sort $(DATASETS)),$(foreach k,$(K),$(foreach s,$(SEED),$(d)-k$(k)-s$(s) \
             $(if $(filter context,$(d)),$(OTHERS:%=$(d)-k$(k)-s$(s)%)))))
RECORDS := $(NAMES:%=$(RUNS)/%/metrics.json)
STRICT  := $(NAMES:%=$(RUNS)/%-strict/metrics.json)
SHOWN   := $(RUNS)/voc-k10-s$(firstword $(SEED))/metrics.json# the run that figures ask
FIG3    := $(if $(filter $(SHOWN),$(RECORDS)),$(FIGURES)/fig3.png)
STORIES := $(patsubst %,$(RUNS)/%.ipynb,method data new_class diagnose)# the report shows them too
PICTURES = $(if $(DATA),$(patsubst %,figures/toy/%.png,method new_class diagnose))# the README's
METHOD  := $(filter-out %/download.py,$(foreach f,method extras data,$(wildcard zs3lib/$f/*.py))) \
           $(patsubst %,zs3lib/%.py,runs/run runs/keys runs/sources settings profiles classes)
RESULTS := $(wildcard zs3lib/results/*.py zs3lib/plots/*.py) \
           $(patsubst %,zs3lib/resources/%,audit.md notes.ini)
EXPLORE := $(wildcard zs3lib/explore/*.py zs3lib/plots/*.py)
# Each of the runs that go on at a time has its share of the cores.
ATONCE  := $(words $(wordlist 1,$(JOBS),$(or $(RECORDS),none)))
ZS3     := OMP_NUM_THREADS=$(shell echo $$(($(CORES) > $(ATONCE) ? $(CORES) / $(ATONCE) : 1))) \
           $(PYTHON) -m zs3lib
# Elsewhere this machine's cores say nothing: whoever launches a training says how many it has.
TRAIN   := $(if $(LAUNCH),$(LAUNCH) $(PYTHON) -m zs3lib,$(ZS3))

valid: setup# every word of the command is looked at before anything starts
	@$(ZS3) check --profile "$(PROFILE)" --datasets "$(DATASETS)" --ks "$(K)" \
	  --seeds "$(SEED)" --lists "$(LISTS)" $(PARAMS) \
	  $(if $(filter-out data,$(MAKECMDGOALS)),,--data)

data/toy/ready: $(wildcard zs3lib/toy/*.py) zs3lib/resources/toy_words.ini | valid
	@$(ZS3) toy --root data/toy --workers $(JOBS)
	@touch $@

$(sort $(RECORDS) $(STRICT) $(SHOWN)): %/metrics.json: \
  notebooks/train.ipynb $(METHOD) $(DATA) | valid
	@$(TRAIN) run $(@D) $(PARAMS)
$(STRICT): %-strict/metrics.json: | %/metrics.json

# Tables and report change when other runs are asked for, even where no run is newer.
GRID := $(PROFILE) / $(DATASETS) / $(K) / $(SEED) / $(LISTS)
$(TABLES)/.grid report/.grid: FORCE | valid
	@mkdir -p $(@D); echo "$(GRID)" | cmp -s - $@ || echo "$(GRID)" > $@

# What a notebook makes, or the executed notebook itself: the notebook stands first.
MADE    := $(TABLES)/table1.txt $(FIGURES)/fig3.png $(STORIES)
# Table IV shows every run that is there, of whatever split.
$(TABLES)/table1.txt: notebooks/tables.ipynb $(RESULTS) $(RECORDS) $(TABLES)/.grid \
  $(filter-out $(STRICT) $(SHOWN),$(wildcard $(RUNS)/*/metrics.json))
$(FIGURES)/fig3.png: notebooks/figure3.ipynb $(EXPLORE) $(SHOWN)
$(STORIES): $(RUNS)/%.ipynb: notebooks/%.ipynb $(METHOD) $(EXPLORE) $(SHOWN)
$(MADE): WITH = -p profile $(PROFILE) -p seed $(firstword $(SEED))
$(TABLES)/table1.txt: WITH = -p profile $(PROFILE) -p ks "$(K)" -p datasets "$(DATASETS)" \
  -p seeds "$(SEED)"
$(RUNS)/data.ipynb: WITH = -p profile $(PROFILE)
$(RUNS)/method.ipynb: WITH =
$(MADE):
	@$(ZS3) run $< $(RUNS)/$(<F) $(WITH)
	@touch $@
$(TABLES)/protocol.md: $(RESULTS) $(RECORDS) $(STRICT)
	@$(ZS3) protocols --profile $(PROFILE) >/dev/null
	@touch $@

figures/toy/new_class.png: HEADING = The picture
figures/toy/diagnose.png:  HEADING = Real against generated features
figures/toy/method.png:    HEADING = 9. Before and after the recursion
$(PICTURES): figures/toy/%.png: runs/toy/%.ipynb
	@$(ZS3) picture $< "$(HEADING)" $@

PAGES := $(RUNS)/tables.ipynb $(RUNS)/figure3.ipynb $(STORIES) $(RECORDS:metrics.json=train.ipynb)
report/index.html: $(TABLES)/table1.txt $(FIG3) $(STORIES) $(PICTURES) report/.grid
	@rm -f report/*.html
	@$(ZS3) report $$(ls $(PAGES) 2>/dev/null) --out report --profile $(PROFILE) --ks $(K) \
	  --datasets $(DATASETS) --seeds $(SEED)

# ---- targets -------------------------------------------------------------------------------------
data: valid $(DATA)  ## build the toy world; PROFILE=paper or lite: download data, weights and words
	@$(if $(DATA),:,$(ZS3) data --profile $(PROFILE) --datasets $(DATASETS))
tables: $(TABLES)/table1.txt $(FIG3)  ## train what is missing, then Tables I-III and Fig. 3
	@cat $<; echo; echo "Tables: $(TABLES)/table{1,2,3}.{md,csv,tex}   Runs: $(RUNS)/" \
	  $(if $(FIG3),"  Figure 3: $(FIG3) and .pdf")
protocol: $(TABLES)/protocol.md  ## train under both protocols (VOC, K = 10), one table of both
	@cat $<
figure: $(FIGURES)/fig3.png  ## Fig. 3 alone
report: report/index.html  ## executed notebooks, tables and figures as HTML: report/index.html
lab: setup  ## the notebooks in JupyterLab, on this machine alone (localhost, with a token)
	@JUPYTER_PATH="$(ENV)/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" $(PYTHON) -m jupyter lab \
	  --ServerApp.ip=127.0.0.1 --ServerApp.allow_remote_access=False \
	  $$([ "$$(id -u)" != 0 ] || echo --allow-root) notebooks
toy-backbone: setup  ## train the toy network that the package ships (for who changes it)
	@$(PYTHON) -m zs3lib toy-backbone
bench scaling: setup
	@$(PYTHON) tests/benchmarks/$@.py
bench:  ## the plain step against a reference loop, and where the minutes go: tables/bench.md
scaling:  ## how time and memory grow: tables/scaling.md, figures/scaling.png (minutes)
test: setup  ## run the tests
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile
test-kill: setup  ## kill 20 tiny runs at random moments, resume each, compare every digit
	@$(PYTHON) tests/interruptions.py --kills 17 --live 3
test-browser: setup  ## every notebook, as it is, in JupyterLab with chromium: screenshots/
	@ZS3_BROWSER=defaults $(PYTHON) -m pytest tests/browser
lint: setup  ## ruff over code and notebooks; notebooks are committed without outputs
	@$(PYTHON) -m ruff check zs3lib tests notebooks
	@$(PYTHON) -m ruff format --check --quiet zs3lib tests notebooks
	@$(PYTHON) -m nbstripout --verify --keep-id notebooks/*.ipynb
clean:  ## remove runs, caches, the toy world, and toy tables and figures
	rm -rf runs/toy cache data/toy tables/toy figures/toy report screenshots
