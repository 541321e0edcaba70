"""Run a notebook through papermill, with one clear line when it fails: `python -m zs3lib.notebooks IN OUT -p name value`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import papermill
from papermill.exceptions import PapermillException, PapermillExecutionError


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
    title = f"{options.source.stem} {' '.join(str(v) for v in parameters.values())}"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    print(f"{title}: started", flush=True)
    try:
        papermill.execute_notebook(
            options.source, options.output, parameters, progress_bar=sys.stderr.isatty(),
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # its warning about plain TCP, here on the loopback, is noise
        )  # fmt: skip
    except PapermillExecutionError as error:
        print(
            f"{title}: {error.ename}: {error.evalue}\n  (the notebook up to there: {options.output})", file=sys.stderr
        )
        return 1
    except (PapermillException, OSError) as error:
        print(f"{title}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{title}: interrupted; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    print(f"{title}: done in {time.time() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
