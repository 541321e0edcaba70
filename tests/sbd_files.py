"""SBD in its own format, for the tests of what reads and what downloads it."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix


def write_sbd(root, masks: dict[str, np.ndarray]):
    """SBD as its archive unpacks: img/*.jpg, cls/*.mat and the list of training images."""
    for folder in ("img", "cls"):
        (root / folder).mkdir(parents=True)
    for name, mask in masks.items():
        Image.new("RGB", mask.shape[::-1], (90, 120, 60)).save(root / "img" / f"{name}.jpg")
        boundaries = np.empty((20, 1), object)
        for c in range(20):
            boundaries[c, 0] = csc_matrix(mask == c + 1)
        present = np.setdiff1d(mask, [0]).astype(np.uint8)[:, None]
        record = {"Segmentation": mask, "Boundaries": boundaries, "CategoriesPresent": present}
        savemat(root / "cls" / f"{name}.mat", {"GTcls": record}, do_compression=True)
    (root / "train_noval.txt").write_text("".join(f"{name}\n" for name in masks))
