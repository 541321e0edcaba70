"""What an unfinished run has saved, in words, for whoever interrupts it."""

from __future__ import annotations

from pathlib import Path


def saved(run_folder: Path, backbone_folder: Path | None = None) -> str:
    """One line: what of a run is saved, and how to go on.

    Arguments:
        run_folder: `runs/<profile>/<dataset>-k<K>-s<seed>`, with `-strict` or `-holdout` where it is such a run.
        backbone_folder: where its stage 1 keeps its state; None: the newest for its dataset and K.
    """
    run_folder = Path(run_folder)
    if backbone_folder is None:
        found = run_folder.parent.glob(f"backbones/{run_folder.name.partition('-s')[0]}-*/")
        backbone_folder = max(found, key=lambda p: p.stat().st_mtime, default=run_folder / "none")
    parts = []
    if (backbone_folder / "backbone.pt").is_file():
        parts.append(f"stage 1 ({backbone_folder / 'backbone.pt'})")
    elif (backbone_folder / "training.pt").is_file():
        parts.append(f"stage 1 up to its last whole epoch ({backbone_folder / 'training.pt'})")
    if states := sorted((run_folder / "training").glob("[!.]*.pt")):
        names = ", ".join(p.stem for p in states)
        parts.append(f"stage 2 up to its last whole epochs ({run_folder / 'training'}: {names})")
    if not parts:
        return "interrupted; nothing is saved yet: the same command starts anew"
    return f"interrupted; saved: {'; '.join(parts)}; the same command goes on from there"
