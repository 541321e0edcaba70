"""Run a notebook through papermill in the kernel of this interpreter; one line says what failed."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .classes import DATASETS
from .errors import ZS3Error
from .profiles import PROFILES
from .storage import ROOT, saved

TRAIN = ROOT / "notebooks" / "train.ipynb"
FOLDER = re.compile(r"(?P<dataset>\w+)-k(?P<k>\d+)-s(?P<seed>\d+)(?P<strict>-strict)?")


def parameters_of(p=(), r=(), y=(), f=()) -> dict[str, Any]:
    """Notebook parameters, read as papermill's own command line reads them.

    Arguments:
        p: (name, value) texts, of which numbers, True, False and None are taken as such.
        r: (name, value) texts, taken as they are.
        y: YAML texts; f: YAML files; both hold lines of "name: value".

    Raises ZS3Error on what is no such YAML.
    """
    import yaml
    from papermill.cli import _resolve_type
    from papermill.exceptions import PapermillException
    from papermill.iorw import NoDatesSafeLoader, read_yaml_file

    found: dict[str, Any] = {}
    for what, read, source in [("-f", read_yaml_file, x) for x in f] + [("-y", None, x) for x in y]:
        try:
            found |= (read(source) if read else yaml.load(source, Loader=NoDatesSafeLoader)) or {}
        except (OSError, PapermillException, TypeError, ValueError, yaml.YAMLError) as error:
            reason = getattr(error, "problem", None) or " ".join(str(error).split())
            raise ZS3Error(f"{what} {source!r} is not 'name: value' in YAML ({reason})") from None
    return found | {name: _resolve_type(value) for name, value in p} | dict(r)


def parameters_of_run(folder: Path) -> dict[str, Any]:
    """What the train notebook is given so that it writes runs/<profile>/<dataset>-k<K>-s<seed>/.

    Raises ZS3Error where `folder` is not of that form.
    """
    found = FOLDER.fullmatch(folder.name)
    if not found:
        raise ZS3Error(f"{folder} is no run: write runs/<profile>/<dataset>-k<K>-s<seed>[-strict]")
    return {
        "profile": folder.absolute().parent.name,
        "dataset": found["dataset"],
        "k": int(found["k"]),
        "seed": int(found["seed"]),
        "protocol": "strict" if found["strict"] else "paper",
        "runs_root": str(folder.absolute().parents[1]),
    }


def plan(what: Path, output: Path | None, given: dict) -> tuple[Path, Path, dict]:
    """Which notebook runs, where to, with which parameters; ZS3Error on one that it does not have.

    Arguments:
        what: a notebook, with `output` where the executed one goes; or the folder of a training.
    """
    import papermill
    from papermill.exceptions import PapermillException

    if what.suffix == ".ipynb":
        source, target, own = what, output or Path("out.ipynb"), {}
    else:
        source, target, own = TRAIN, what / "train.ipynb", parameters_of_run(what)
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


def check(profile: str, datasets: str, ks: str, seeds: str, **words: list) -> int:
    """Print one line for each of make's words that does not fit; 0 when all do.

    Arguments:
        datasets, ks, seeds: several with spaces between.
        words: as `parameters_of` takes them: make's PARAMS.
    """
    problems = list(_problems(profile, datasets, ks, seeds))
    if any(words.values()):
        # A setting may fit one dataset and not another; with a wrong grid only names are looked at.
        grid = (profile, datasets, ks.split()[0]) if not problems else ("toy", "voc", 1)
        try:
            for name in grid[1].split():
                run_folder = Path("runs", grid[0], f"{name}-k{grid[2]}-s0")
                values = plan(run_folder, None, parameters_of(**words))[2]
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


def _problems(profile: str, datasets: str, ks: str, seeds: str) -> Iterator[str]:
    if profile not in PROFILES:
        yield f"PROFILE={profile}: choose one of {', '.join(PROFILES)}"
    fit = [name for name in datasets.split() if name in DATASETS]
    if not fit or len(fit) < len(datasets.split()):
        yield f'DATASETS="{datasets}": choose from {", ".join(DATASETS)}, a space between two'
    most = min(len(DATASETS[name].unseen_order) for name in fit or DATASETS)
    if not ks.split() or any(not k.isdecimal() or not 1 <= int(k) <= most for k in ks.split()):
        yield f'K="{ks}": give whole numbers from 1 to {most}, a space between two: K="2 4"'
    if not seeds.split() or not all(seed.isdecimal() for seed in seeds.split()):
        yield f'SEED="{seeds}": give whole numbers, a space between two: SEED="0 1"'


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
    """Run a notebook through papermill, in this interpreter; what went wrong in one line, or ""."""
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
        where = "" if error.ename == "ZS3Error" else f" (the notebook up to there: {output})"
        return f"{error.ename}: {error.evalue}{where}"
    except (PapermillException, OSError, ValueError, RuntimeError) as error:  # no kernel, no space
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
