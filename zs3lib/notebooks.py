"""Run a notebook through papermill, with one clear line when it fails: `python -m zs3lib.notebooks IN OUT -p name value`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from .paths import RUNS, run_name
from .progress import saved


def _value(text: str) -> object:
    """A parameter as papermill's own -p reads it: a number or true/false where it looks like one, else text."""
    try:
        return json.loads(text.lower()) if text.lower() in ("true", "false", "null") else json.loads(text)
    except json.JSONDecodeError:
        return text


def main(arguments: list[str] | None = None) -> int:
    """Execute a notebook; 0 when every cell ran, 1 when one failed, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.notebooks", description=__doc__)
    parser.add_argument("source", type=Path, help="the notebook to run")
    parser.add_argument("output", type=Path, help="where the executed notebook goes")
    parser.add_argument(
        "-p", nargs=2, metavar=("NAME", "VALUE"), action="append", default=[],
        help="a parameter; `papermill --help-notebook SOURCE` lists them",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    parameters = {name: _value(value) for name, value in options.p}
    title = " ".join([options.source.stem, *map(str, parameters.values())])
    begin = time.time()
    print(f"{title}: started", flush=True)
    try:
        problem = _execute(options.source, options.output, parameters)
    except KeyboardInterrupt:
        kept = saved(_run_folder(parameters)) if options.source.stem == "train" else "interrupted: nothing is lost"
        print(f"{title}: {kept}", file=sys.stderr)
        return 130
    if problem:
        print(f"{title}: {problem}", file=sys.stderr)
        return 1
    print(f"{title}: done in {time.time() - begin:.0f} s", flush=True)
    return 0


def _execute(source: Path, output: Path, parameters: dict) -> str:
    """Run a notebook; what went wrong, or "". Papermill is imported here, so that Ctrl-C meanwhile is answered too."""
    import papermill
    from papermill.exceptions import PapermillException, PapermillExecutionError

    # At Ctrl-C it tells of tasks that nobody waits for any more, with a traceback each.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            source, output, parameters, progress_bar=sys.stderr.isatty(),
            # Below critical it warns of plain TCP, here on the loopback, and of the socket that Ctrl-C closes.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )  # fmt: skip
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}\n  (the notebook up to there: {output})"
    except (PapermillException, OSError, ValueError, RuntimeError) as error:  # no such notebook, no kernel, no space
        return " ".join(str(error).split())
    return ""


def _run_folder(parameters: dict) -> Path:
    """The run record's folder that the train notebook writes to; what is not given is the notebook's default."""
    given = {"profile": "toy", "dataset": "voc", "k": 10, "seed": 0} | parameters
    options = given.get("options") or {}
    kind = {"protocol": given.get("protocol") or "paper", "holdout": options.get("holdout") or 0}
    name = run_name(given["dataset"], given["k"], given["seed"], **kind)
    return Path(given.get("runs_root") or RUNS) / str(given["profile"]) / name


if __name__ == "__main__":
    sys.exit(main())
