"""Run a notebook through papermill in the kernel of this interpreter, and take its parameters."""

import logging
import os
import re
import sys
import time
from pathlib import Path

from pydantic import ValidationError, create_model

from ..classes import DATASETS, in_grid
from ..errors import ZS3Error, one_line
from ..paths import ROOT, run_settings
from ..profiles import PROFILES
from ..settings import Number, Settings, Whole, Wholes, what_is_wrong
from ..storage import read_text
from .facts import saved

TRAIN = ROOT / "notebooks" / "train.ipynb"


def typed(kind: type, **given: object) -> list:
    """Parameters of a notebook as the numbers they are meant as, in their order; None stays.

    `kind` is int, for which 6, "6" and 6.0 are 6; float; or list, of whole numbers, for which 6,
    "6 10" and [6, 10] are such. Raises ZS3Error naming each that is no such number.
    """
    if kind is list:
        given = {k: v.split() if isinstance(v, str) else v for k, v in given.items()}
    field = {int: Whole, float: Number, list: Wholes}[kind] | None
    model = create_model("Parameters", **dict.fromkeys(given, (field, ...)))
    try:
        return list(model(**given).model_dump().values())
    except ValidationError as error:
        raise ZS3Error(what_is_wrong(error)) from None


def parameters_of(p=(), r=(), y=(), f=()) -> dict:
    """Notebook parameters, read as papermill's command line reads its options of these names.

    Raises ZS3Error where `y`, texts, or `f`, files, are no lines of "name: value" in YAML.
    """
    import yaml
    from papermill.cli import _resolve_type
    from papermill.iorw import NoDatesSafeLoader

    found = {}
    texts = [(f"-f {file!r}", read_text(file)) for file in f]
    texts += [(f"-y {text!r}", text) for text in y]
    for what, text in texts:
        try:
            found |= yaml.load(text, Loader=NoDatesSafeLoader) or {}
        except (TypeError, ValueError, yaml.YAMLError) as error:
            reason = getattr(error, "problem", None) or error
            raise ZS3Error(f"{what} is not 'name: value' in YAML ({reason})") from None
    return found | {name: _resolve_type(value) for name, value in p} | dict(r)


def plan(what: Path, output: Path | None, given: dict) -> tuple[Path, Path, dict]:
    """Which notebook runs, where to, with which parameters.

    `what` is a notebook, with `output` where the executed one goes, or the folder of a training,
    runs/<profile>/<dataset>-k<K>-s<seed>[-<list of unseen classes>][-void][-strict]. Raises
    ZS3Error on what is neither, and on a parameter that the notebook does not have.
    """
    import papermill
    from papermill.exceptions import PapermillException

    source, target, own = what, output or Path("out.ipynb"), {}
    if what.suffix != ".ipynb":
        own = run_settings(what)
        if not own:
            form = "runs/<profile>/<dataset>-k<K>-s<seed>[-strict]"
            raise ZS3Error(f"{what} is no run: write {form}")
        source, target = TRAIN, what / "train.ipynb"
        own["runs_root"] = str(what.absolute().parents[1])
    if twice := [name for name in own if name in given]:
        raise ZS3Error(f"{twice[0]} is in the run's name already (make: K, SEED ...): leave it out")
    try:
        known = list(papermill.inspect_notebook(source))
    except (OSError, PapermillException, ValueError) as error:
        raise ZS3Error(f"{source} is no notebook ({one_line(error)})") from None
    if unknown := [name for name in given if name not in known]:
        names = ", ".join(known)
        raise ZS3Error(f"{source.name} has no parameter '{unknown[0]}': it has {names}")
    return source, target, own | given


def check(
    profile: str, datasets: str, ks: str, seeds: str, lists="paper", data=False, **words: list
) -> int:
    """Print one line for each of make's words that does not fit; 0 when all do.

    Of `datasets`, `ks`, `seeds` and `lists` there may be several, with spaces between; with `data`
    it is `make data`, of any dataset. `words`: make's PARAMS, as `parameters_of` takes them.
    """
    grid = list(DATASETS) if data else in_grid()
    fit = [name for name in datasets.split() if name in grid]
    most = min(len(next(iter(DATASETS[name].lists.values()))) for name in fit or grid)
    fitting = {
        "PROFILE": (profile, list(PROFILES)),
        "DATASETS": (datasets, grid),
        "K": (ks, [str(k) for k in range(1, most + 1)]),
        "LISTS": (lists, sorted({"paper"}.union(*(x.other_lists for x in DATASETS.values())))),
    }
    problems = []
    for word, (given, known) in fitting.items():
        values = [given] if word == "PROFILE" else given.split()
        if not values or not set(values) <= set(known):
            problems.append(f'{word}="{given}": choose from {" ".join(known)}')
    if not re.fullmatch(r"\s*((0|[1-9]\d*)(\s+|$))+", seeds):
        problems.append(f'SEED="{seeds}": give whole numbers, a space between two: SEED="0 1"')
    runs = ["toy/voc-k1-s0"]  # of a wrong grid only the names in PARAMS are looked at
    if not problems and not data:  # a setting may fit one dataset and not another
        runs = [f"{profile}/{name}-k{ks.split()[0]}-s0" for name in datasets.split()]
    try:
        for run in runs if any(words.values()) else ():
            parameters = plan(Path("runs", run), None, parameters_of(**words))[2]
            if not problems:
                settings_of(parameters)
    except ZS3Error as error:
        problems.append(f"PARAMS: {error}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


def settings_of(parameters: dict) -> tuple[Settings, dict]:
    """The settings among a training's parameters, and its roots, as `Run` takes them."""
    roots = {name: parameters.pop(name, None) for name in ("runs_root", "cache_root")}
    return Settings.make(**parameters), roots


def run(what: Path, output: Path | None, **words: list) -> int:
    """Execute what `plan` says; 0 when every cell ran, 1 when one failed, 130 at Ctrl-C."""
    source, output, parameters = plan(what, output, parameters_of(**words))
    title = what.name if source is TRAIN else source.stem
    begin = time.time()
    print(f"{title}: started", flush=True)
    try:
        problem = execute(source, output, parameters)
    except KeyboardInterrupt:
        print(f"{title}: {saved(output.parent)}", file=sys.stderr)
        return 130
    if problem:
        print(f"{title}: {problem}", file=sys.stderr)
        return 1
    print(f"{title}: done in {time.time() - begin:.0f} s", flush=True)
    return 0


def execute(source: Path, output: Path, parameters: dict, **options) -> str:
    """Run a notebook through papermill, in this interpreter; what went wrong, "" if nothing.

    A ZS3Error is its one line; any other error of a cell keeps its traceback.
    """
    import papermill
    from papermill.exceptions import PapermillException, PapermillExecutionError

    # This interpreter's kernel comes before whatever kernel named python3 lies elsewhere.
    places = [str(Path(sys.prefix, "share", "jupyter")), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, places))
    # At Ctrl-C it tells of tasks that nobody waits for any more, with a traceback each.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            source,
            output,
            parameters,
            kernel_name="python3",
            progress_bar=sys.stderr.isatty(),
            # Below critical it warns of plain TCP, here on the loopback, and of closed sockets.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            **options,
        )
    except PapermillExecutionError as error:
        if error.ename == "ZS3Error":
            return f"ZS3Error: {error.evalue}"
        from nbconvert.filters import strip_ansi

        trace = strip_ansi("\n".join(error.traceback))
        return f"{trace}\n{error.ename}: {error.evalue} (the notebook up to there: {output})"
    except (PapermillException, OSError, RuntimeError) as error:  # no space, a kernel that died
        return one_line(error)
    return ""
