"""`python -m zs3lib.toy --root data/toy`: make the toy world, or leave it if it is there and up to date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import ZS3Error
from .world import build, ensure, ensure_backbone


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zs3lib.toy", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Make the toy world: generated pictures in the formats of VOC 2012 and Pascal-Context, and word "
                    "vectors trained on a generated corpus. Nothing is downloaded; same settings, same bytes.",
    )  # fmt: skip
    parser.add_argument("--root", type=Path, default=Path("data/toy"), help="folder to write the world to")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn")
    parser.add_argument("--train", type=int, default=480, help="training images per dataset")
    parser.add_argument("--val", type=int, default=160, help="validation images per dataset")
    parser.add_argument("--short-side", type=int, default=160, help="short side of the images, pixels")
    parser.add_argument("--workers", type=int, default=2, help="processes (the bytes do not depend on it)")
    parser.add_argument("--force", action="store_true", help="build even if an up-to-date world is there")
    parser.add_argument("--no-backbone", action="store_true", help="data only: do not pretrain the toy backbone")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = vars(parser.parse_args(argv))
    backbone = not args.pop("no_backbone")
    force, progress = args.pop("force"), not args.pop("quiet")
    try:
        (build if force else ensure)(args["root"], progress=progress, **{k: v for k, v in args.items() if k != "root"})
        if backbone:
            ensure_backbone(args["root"], workers=args["workers"])
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"toy world at {args['root']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
