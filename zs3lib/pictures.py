"""One picture of an executed notebook as a small PNG, for a README or a slide.

python -m zs3lib.pictures runs/toy/new_class.ipynb "The picture" figures/toy/new_class.png
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
from pathlib import Path

import nbformat
from PIL import Image

from .errors import ZS3Error
from .paths import atomic_write


def picture_below(notebook: Path, heading: str) -> Image.Image:
    """The first PNG below a heading of an executed notebook. Raises ZS3Error when there is none."""
    try:
        cells = nbformat.read(notebook, 4).cells
    except Exception as error:  # missing, no JSON, no notebook: nbformat raises many kinds
        raise ZS3Error(
            f"{notebook} is no notebook ({type(error).__name__}): run it again"
        ) from None
    below, headings = False, []
    for cell in cells:
        if cell.cell_type == "markdown":
            found = [line.strip() for line in re.findall(r"^#+\s+(.+)$", cell.source, re.M)]
            headings += found
            below = below or heading in found
        for output in cell.get("outputs", []) if below else []:
            if png := output.get("data", {}).get("image/png"):
                return Image.open(io.BytesIO(base64.b64decode(png)))
    what = "no picture below" if below else f"its headings are {'; '.join(headings)}, not"
    raise ZS3Error(f"{notebook}: {what} {heading!r}")


def save_small(picture: Image.Image, path: Path, *, width: int = 1000) -> None:
    """Write a PNG of at most `width` pixels across and 256 colours: a third of the bytes, and the eye sees no difference."""
    if picture.width > width:
        picture = picture.resize(
            (width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS
        )
    small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with atomic_write(path) as file:
        small.save(file, "png", optimize=True)


def main(arguments: list[str] | None = None) -> int:
    """Save the first picture below a heading of an executed notebook as a small PNG."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.pictures", description=main.__doc__)
    parser.add_argument("notebook", type=Path, help="an executed notebook")
    parser.add_argument(
        "heading", help="the heading, without its #, below which the picture stands"
    )
    parser.add_argument("output", type=Path, help="where the PNG goes")
    parser.add_argument(
        "--width", type=int, default=1000, help="widest it may be, pixels (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    try:
        save_small(picture_below(args.notebook, args.heading), args.output, width=args.width)
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
