"""The commands of zs3lib; `make help` lists what make runs with them."""

import argparse
import os
import sys
from pathlib import Path
from pkgutil import resolve_name

from .classes import DATASETS, in_grid
from .errors import ZS3Error
from .paths import DATA, FIGURES, RESOURCES, ROOT, RUNS, TABLES
from .profiles import PROFILES


def option(*names: str, **how) -> tuple:
    """One option, as argparse's add_argument takes it; SUPPRESS leaves the function its default."""
    return names, how


def place(name: str, default: Path, what: str) -> tuple:
    """An option that names a file or folder."""
    return option(name, type=Path, default=default, help=f"{what} (default: %(default)s)")


PAIR = {"nargs": 2, "metavar": ("NAME", "VALUE"), "action": "append", "default": []}
LIST = {"action": "append", "default": []}
PARAMETERS = [
    option("-p", **PAIR, help="a parameter; a number, True, False or None is taken as such"),
    option("-r", **PAIR, help="a parameter, taken as the text it is"),
    option("-y", **LIST, metavar="YAML", help='parameters in YAML: -y "options: {views: 1}"'),
    option("-f", **LIST, metavar="FILE", help="a YAML file of parameters"),
]
RECORDS = [
    option("--profile", default="toy", choices=PROFILES, help="whose runs (default: %(default)s)"),
    place("--runs", RUNS, "folder of the run records"),
]
CHOICE = [
    option("--datasets", nargs="+", choices=DATASETS, help="only these datasets (default: all)"),
    option("--ks", nargs="+", type=int, metavar="K", help="only these K (default: all run)"),
    option("--seeds", nargs="+", type=int, metavar="SEED", help="only these seeds (default: all)"),
]
OUT = place("--out", TABLES, "folder of the tables")

# Name: (function, what --help says, *options). A function is imported when its command is given.
COMMANDS = {
    "run": (
        "runs.notebooks:run",
        "Run a notebook, or train one configuration, given the folder of its record: "
        "`run notebooks/data.ipynb out.ipynb -p k 6`, `run runs/toy/voc-k6-s0 -p tau 0.8`. "
        "Parameters are those of papermill; `papermill --help-notebook NOTEBOOK` lists them.",
        option("what", type=Path, help="a notebook, or runs/<profile>/<dataset>-k<K>-s<seed>"),
        option("output", type=Path, nargs="?", help="where the executed notebook goes"),
        *PARAMETERS,
    ),
    "stage1": (
        "runs.run:stage1_alone",
        "Train stage 1 of a configuration and no more, on several GPUs: "
        "`torchrun --nproc-per-node=4 -m zs3lib stage1 runs/paper/voc-k6-s0`. "
        "The run itself goes on from it.",
        option("what", type=Path, help="runs/<profile>/<dataset>-k<K>-s<seed>"),
        *PARAMETERS,
    ),
    "check": (
        "runs.notebooks:check",
        "Say which words of a make command do not fit, all of them, before anything starts.",
        option("--profile", required=True, help="make's PROFILE"),
        option("--datasets", required=True, help="make's DATASETS"),
        option("--ks", required=True, help="make's K"),
        option("--seeds", required=True, help="make's SEED"),
        option("--lists", default="paper", help="make's LISTS"),
        option("--data", action="store_true", help="of `make data`, which trains nothing"),
        *PARAMETERS,
    ),
    "toy": (
        "toy.world:ensure",
        "Make the toy world: pictures in the formats of VOC 2012 and Pascal-Context, and word "
        "vectors. Nothing is downloaded; the same settings make the same bytes.",
        place("--root", DATA / "toy", "folder to write the world to"),
        option("--seed", type=int, default=argparse.SUPPRESS, help="seed of all that is drawn"),
        option("--train", type=int, default=argparse.SUPPRESS, help="training images per dataset"),
        option("--val", type=int, default=argparse.SUPPRESS, help="validation images per dataset"),
        option("--short-side", type=int, default=argparse.SUPPRESS, help="of an image, pixels"),
        option("--workers", type=int, default=2, help="processes that draw (default: 2)"),
        option("--force", action="store_true", help="make it even where it is up to date"),
        option("--quiet", dest="progress", action="store_false", help="no progress bar"),
    ),
    "toy-backbone": (
        "toy.backbone:pretrain",
        "Train the toy network whose weights the package holds, on things of no dataset.",
        place("--path", RESOURCES / "toy_backbone.pt", "file to write"),
    ),
    "data": (
        "data.download:main",
        "Download what a profile needs: pictures, ImageNet weights, word vectors. What is there "
        "already is used as it is.",
        option("--profile", default="paper", choices=("paper", "lite"), help="whose"),
        option("--datasets", nargs="+", choices=DATASETS, default=in_grid(), help="of which"),
        place("--root", DATA, "the data folder"),
        option("--only-list", action="store_true", help="list what is missing, fetch nothing"),
    ),
    "tables": (
        "results.tables:write",
        "Write Tables I-III of a profile from its run records, and say where they are.",
        *RECORDS,
        OUT,
        *CHOICE,
    ),
    "protocols": (
        "results.beside:protocols",
        "Write the table of both protocols, paper and strict, from a profile's run records.",
        *RECORDS,
        OUT,
    ),
    "report": (
        "results.report:write",
        "Turn executed notebooks into HTML pages with an index that shows tables and figures.",
        option("pages", nargs="+", type=Path, help="executed notebooks, in the index's order"),
        place("--out", ROOT / "report", "folder of the report"),
        *RECORDS,
        place("--figures", FIGURES, "folder of the figures"),
        *CHOICE,
    ),
    "picture": (
        "results.report:picture",
        "Save the first picture below a heading of an executed notebook as a small PNG.",
        option("notebook", type=Path, help="an executed notebook"),
        option("heading", help="the heading, without its #, below which the picture stands"),
        option("out", type=Path, help="where the PNG goes"),
    ),
}


def main(words: list[str] | None = None) -> int:
    """Run one command: 0; 1 after one line that says what is wrong; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (call, about, *options) in COMMANDS.items():
        own = commands.add_parser(name, help=about.partition(":")[0], description=about)
        own.set_defaults(call=call)
        for names, how in options:
            own.add_argument(*names, **how)
    words = sys.argv[1:] if words is None else words
    given = vars(parser.parse_args(words or ["--help"]))
    try:
        result = resolve_name(f"zs3lib.{given.pop('call')}")(**given)
        if isinstance(result, int):
            return result
        for made in result if isinstance(result, list) else [result]:
            sys.stdout.write(f"{made}\n")  # in one piece: torchrun's processes write at once
        sys.stdout.flush()
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
