"""Run a notebook through papermill in the kernel of this interpreter, and take its parameters."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .classes import DATASETS, in_grid
from .errors import ZS3Error
from .profiles import PROFILES
from .storage import ROOT, read_text, saved

TRAIN = ROOT / "notebooks" / "train.ipynb"
FOLDER = re.compile(
    r"(?P<dataset>\w+)-k(?P<k>\d+)-s(?P<seed>\d+)"
    r"(-(?!strict|void)(?P<list>[\w-]+?))?(?P<void>-void)?(?P<strict>-strict)?"
)


def typed(kind: type, **given: object) -> list:
    """Parameters of a notebook as the numbers they are meant as, in their order; None stays.

    Arguments:
        kind: int, for which 6, "6" and 6.0 are 6; float; or list, of whole numbers, for which 6,
            "6 10" and [6, 10] are such.

    Raises ZS3Error naming each that is no such number.
    """
    from pydantic import ValidationError, create_model

    from .settings import Number, Whole, Wholes, _line

    if kind is list:
        given = {k: v.split() if isinstance(v, str) else v for k, v in given.items()}
    field = {int: Whole, float: Number, list: Wholes}[kind] | None
    model = create_model("Parameters", **dict.fromkeys(given, (field, ...)))
    try:
        return list(model(**given).model_dump().values())
    except ValidationError as error:
        raise ZS3Error("; ".join(map(_line, error.errors()))) from None


def parameters_of(p=(), r=(), y=(), f=()) -> dict:
    """Notebook parameters, read as papermill's own command line reads them.

    Arguments:
        p: (name, value) texts, of which numbers, True, False and None are taken as such.
        r: (name, value) texts, taken as they are.
        y: YAML texts; f: YAML files; both hold lines of "name: value".

    Raises ZS3Error on what is no such YAML.
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

    Arguments:
        what: a notebook, with `output` where the executed one goes; or the folder of a training,
            runs/<profile>/<dataset>-k<K>-s<seed>[-<list of unseen classes>][-void][-strict].

    Raises ZS3Error on what is neither, and on a parameter that the notebook does not have.
    """
    import papermill
    from papermill.exceptions import PapermillException

    source, target, own = what, output or Path("out.ipynb"), {}
    if what.suffix != ".ipynb":
        run = FOLDER.fullmatch(what.name)
        if not run:
            raise ZS3Error(
                f"{what} is no run: write runs/<profile>/<dataset>-k<K>-s<seed>[-strict]"
            )
        source, target = TRAIN, what / "train.ipynb"
        own = {
            "profile": what.absolute().parent.name,
            "dataset": run["dataset"],
            "k": int(run["k"]),
            "seed": int(run["seed"]),
            "protocol": "strict" if run["strict"] else "paper",
            "unseen_list": run["list"] or "paper",
            "background": not run["void"],
            "runs_root": str(what.absolute().parents[1]),
        }
    if twice := [name for name in own if name in given]:
        raise ZS3Error(f"{twice[0]} is in the run's name already (make: K, SEED ...): leave it out")
    try:
        known = list(papermill.inspect_notebook(source))
    except (OSError, PapermillException, ValueError) as error:
        raise ZS3Error(f"{source} is no notebook ({' '.join(str(error).split())})") from None
    if unknown := [name for name in given if name not in known]:
        names = ", ".join(known)
        raise ZS3Error(f"{source.name} has no parameter '{unknown[0]}': it has {names}")
    return source, target, own | given


def check(
    profile: str, datasets: str, ks: str, seeds: str, lists: str = "paper", **words: list
) -> int:
    """Print one line for each of make's words that does not fit; 0 when all do.

    Arguments:
        datasets, ks, seeds, lists: several with spaces between.
        words: as `parameters_of` takes them: make's PARAMS.
    """
    problems = list(_problems(profile, datasets, ks, seeds, lists))
    runs = ["toy/voc-k1-s0"]  # of a wrong grid only the names in PARAMS are looked at
    if not problems:  # a setting may fit one dataset and not another
        runs = [f"{profile}/{name}-k{ks.split()[0]}-s0" for name in datasets.split()]
    try:
        for run in runs if any(words.values()) else ():
            values = plan(Path("runs", run), None, parameters_of(**words))[2]
            if not problems:
                _settings(values)
    except ZS3Error as error:
        problems.append(f"PARAMS: {error}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


def _settings(values: dict) -> None:
    from .settings import Settings

    Settings.make(**{k: v for k, v in values.items() if k not in ("runs_root", "cache_root")})


def _problems(profile: str, datasets: str, ks: str, seeds: str, lists: str) -> Iterator[str]:
    if profile not in PROFILES:
        yield f"PROFILE={profile}: choose one of {', '.join(PROFILES)}"
    grid = in_grid()
    fit = [name for name in datasets.split() if name in grid]
    if not fit or len(fit) < len(datasets.split()):
        yield f'DATASETS="{datasets}": choose from {", ".join(grid)}, a space between two'
    most = min(len(DATASETS[name].unseen_order) for name in fit or grid)
    if not ks.split() or any(k not in map(str, range(1, most + 1)) for k in ks.split()):
        yield f'K="{ks}": give whole numbers from 1 to {most}, a space between two: K="2 4"'
    whole = [seed for seed in seeds.split() if seed.isdecimal() and str(int(seed)) == seed]
    if not seeds.split() or whole != seeds.split():
        yield f'SEED="{seeds}": give whole numbers, a space between two: SEED="0 1"'
    known = {"paper"}.union(*(entry.other_lists for entry in DATASETS.values()))
    if not lists.split() or not known.issuperset(lists.split()):
        yield f'LISTS="{lists}": choose from {", ".join(sorted(known))}, a space between two'


def run(what: Path, output: Path | None, **words: list) -> int:
    """Execute a notebook or a training; 0 when every cell ran, 1 when one failed, 130 at Ctrl-C.

    Arguments:
        what, output: see `plan`; words: see `parameters_of`.
    """
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

    # At Ctrl-C it tells of tasks that nobody waits for any more, with a traceback each.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            source,
            output,
            parameters,
            progress_bar=sys.stderr.isatty(),
            kernel_manager_class=_own_kernel(),
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
        return " ".join(str(error).split())
    return ""


def _own_kernel() -> type:
    """A kernel of this very interpreter, whatever kernel named python3 Jupyter finds elsewhere."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    return OwnKernel
