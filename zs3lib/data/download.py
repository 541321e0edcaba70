"""Real data, weights and word vectors of the paper and lite profiles: `make data PROFILE=paper`.

What is on disk already, in whole, is used as it is. Everything else is downloaded to <root>/downloads, where an interrupted
download goes on, checked against the published checksum, unpacked and then removed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import urllib.error
from importlib import resources
from pathlib import Path

from .. import paths
from ..errors import ZS3Error
from .catalogue import Item, catalogue, words_file
from .fetch import extract, fetch, matches


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def plan(items: list[Item], root: Path) -> str:
    """What is missing, what it needs and where it goes, in words. Raises ZS3Error where the disk has not the space."""
    lines, needs = [], {}
    for item in items:
        path = item.path(root)
        part = path.with_name(f"{path.name}.part")
        there = next((file.stat().st_size / 1e9 for file in (path, part) if file.is_file()), 0.0)
        to_come = max(0.0, item.gb[0] - there)
        lines.append(f"  {item.name}: {to_come:.2f} GB to download, {item.gb[1]:.2f} GB on disk: {item.urls[0]}")
        place = _existing(path.parent)
        disk = needs.setdefault(place.stat().st_dev, [place, 0.0])
        disk[1] += to_come + (item.gb[1] if item.place else 0.0)
    for place, need in needs.values():
        free = shutil.disk_usage(place).free / 1e9
        lines.append(f"  at most {need:.1f} GB are needed at a time on the disk of {place}, {free:.1f} GB are free")
        if free < need:
            raise ZS3Error(
                f"about {need:.1f} GB are needed on the disk of {place} and {free:.1f} GB are free: free some first"
            )
    return "\n".join(lines)


def get(item: Item, root: Path, **options) -> None:
    """Fetch an item and put it in place. Raises OSError where no URL answers, ZS3Error on a file that is not as published."""
    path, sums, reasons = item.path(root), item.checksums, []
    if path.is_file() and not matches(path, **sums):
        raise ZS3Error(f"{path} is not the file that {item.urls[0]} publishes (its checksum differs): remove it")
    for url in item.urls:
        try:
            fetch(url, path, **sums, **options)
            break
        except (OSError, ZS3Error) as error:
            if url == item.urls[-1] and isinstance(error, ZS3Error):
                raise
            reasons.append(str(error))
    else:
        raise OSError("; ".join(dict.fromkeys(reasons)))
    if item.place:
        extract(path, root, item.place)
        if item.name == "Pascal-Context" and not (labels := root / "context" / "labels.txt").is_file():
            listed = resources.files("zs3lib").joinpath("resources/context_labels_459.txt")
            with paths.atomic_write(labels) as file:
                file.write(listed.read_bytes())
        if not item.ready(root):
            raise ZS3Error(f"{path} was unpacked, but files of {item.name} are missing: is it the published archive?")
        path.unlink()


def download(items: list[Item], root: Path, **options) -> list[Item]:
    """Fetch what is missing of `items`; what is there is left as it is. Returns what was fetched.

    Raises ZS3Error, after everything that can be had is there, with one line that names each missing file, its URL and
    where to put it by hand; and at once where the disk has not the space.
    """
    missing = [item for item in items if not item.ready(root)]
    if not missing:
        print("Everything is there.")
        return []
    print("Missing:", plan(missing, root), sep="\n", flush=True)
    failures = []
    for item in missing:
        try:
            get(item, root, **options)
        except OSError as error:
            if not isinstance(error, urllib.error.HTTPError):
                options["tries"] = 1  # there may be no network at all: do not wait for each server in turn
            reason = " ".join(str(error).split())[:120]
            failures.append(f"{item.urls[0]} -> {item.path(root)} ({reason})")
        except ZS3Error as error:
            failures.append(str(error))
    if failures:
        raise ZS3Error(
            f"{len(failures)} of {len(missing)} could not be had; put the files by hand where the arrows point, then run "
            f"this again: {'; '.join(failures)}"
        )
    return missing


def class_words(root: Path) -> Path:
    """`wordvectors.txt`, where the lite profile looks for them: Google News' vectors of the classes' words alone."""
    from ..words import of_classes

    target = root / "wordvectors.txt"
    if not target.is_file():
        vectors = of_classes(str(words_file()))
        with paths.atomic_write(target) as file:
            file.write(f"{len(vectors)} {vectors.vector_size}\n".encode())
            for word in vectors.index_to_key:
                file.write(f"{word} {' '.join(map(repr, vectors[word].tolist()))}\n".encode())
    return target


def main(arguments: list[str] | None = None) -> int:
    """Download what a profile needs: data, ImageNet weights and word vectors. What is there already is used as it is."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.data.download", description=main.__doc__)
    parser.add_argument("--profile", choices=("paper", "lite"), default="paper", help="default: %(default)s")
    parser.add_argument(
        "--datasets", nargs="+", choices=("voc", "context"), default=["voc", "context"], help="default: both"
    )
    parser.add_argument("--root", type=Path, default=paths.DATA, help="the data folder (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="only say what is missing, its size and its address")
    args = parser.parse_args(arguments)
    try:
        items = catalogue(args.profile, args.root, args.datasets)
        if args.list:
            missing = [item for item in items if not item.ready(args.root)]
            print(plan(missing, args.root) if missing else "Everything is there.")
        else:
            download(items, args.root)
            if args.profile == "lite":
                class_words(args.root)
            print(f"Data: {args.root}")
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
