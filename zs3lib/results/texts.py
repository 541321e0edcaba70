"""Tables of numbers as texts."""

from collections.abc import Sequence

import pandas as pd


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a table for GitHub; its index is not shown."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.values.tolist()]
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def bullets(notes: Sequence[str]) -> str:
    """Notes below a table, for GitHub."""
    return "\n".join(f"- {note}" for note in notes)


def page(heading: str, frame: pd.DataFrame, *, about: str = "", notes: Sequence[str] = ()) -> str:
    """A table for GitHub below its heading and what is said `about` it, above its notes."""
    parts = [f"# {heading}", about, markdown(frame), bullets(notes)]
    return "\n\n".join(filter(None, parts)) + "\n"


def spread(mean: pd.DataFrame, std: pd.DataFrame | None = None) -> pd.DataFrame:
    """ "12.3" for one seed (std is NaN), "12.3 ± 0.4" for several, "-" for no number."""
    shown = mean.map("{:.1f}".format)
    if std is not None:
        shown += std.map(" ± {:.1f}".format).where(std.notna(), "")
    return shown.where(mean.notna(), "-")
