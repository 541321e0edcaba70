"""Extra: self-training of a run's methods, from predicted label maps to further rows of its record.

`method/self_training.py` says what it is, and why no number of it is zero-shot.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import nn

from .data.augment import Pictures, validation_input
from .method import self_training, stage1
from .method.deeplab import freeze
from .method.features import pixel_logits
from .method.methods import SELF_TRAINED, title
from .storage import Checkpoint, atomic_write

OPTIONS = ("self_training_share", "self_training_seen", "val_size")


def key(run) -> str:
    """Hash of all that self-training depends on."""
    return run.settings.key(*OPTIONS, extra=run.head_key)


def folder(run) -> Path:
    """Where the predicted label maps lie until the run is saved."""
    return run.cache_root / f"{run.settings.run_name}-{key(run)}"


def train(run) -> dict[str, nn.Module]:
    """Train the whole network again after each method of a `Run`, which goes on where it stopped.

    Returns: {row of the record: the network}; `run.history` gets the mean loss of each epoch.
    """
    networks = {}
    for name, head in run.heads.items():
        row = name + SELF_TRAINED
        network = self_training.whole_network(run.model, head.classifier, run.settings)
        done = Checkpoint(run.folder / f"{row}.pt", key(run))
        if (state := done.load()) is None:
            losses = _fine_tune(run, name, network)
            state = {"model": network.state_dict(), "losses": losses}
            done.save(state)
        network.load_state_dict(state["model"])
        networks[row] = freeze(network).to(run.device)
        run.history[row] = {"loss": state["losses"]}
    return networks


def _fine_tune(run, name: str, network: nn.Module) -> list[float]:
    data = run.train.with_masks(pseudo_labels(run)[name])
    part = Checkpoint(run.folder / "self_training.pt", f"{key(run)} {name}")
    run.interrupted |= part.path.exists()
    losses = stage1.train(
        network,
        Pictures(data, list(range(len(data))), run.settings),
        run.settings,
        device=run.device,
        checkpoint=part,
        stage=f"self-training: {title(name)}",
    )
    part.remove()
    return losses


def pseudo_labels(run) -> dict[str, dict[int, Path]]:
    """Label maps of the training images with unseen classes, {method: {image: PNG file}}.

    One pass of the frozen network serves all methods; files that are there are not made again.
    """
    settings = run.settings
    classifiers = {name: head.classifier for name, head in run.heads.items()}
    found: dict[str, dict[int, Path]] = {name: {} for name in classifiers}
    place = folder(run)
    for i in sorted({*range(len(run.train))}.difference(run.seen_images)):
        for name, files in found.items():
            files[i] = place / name / f"{run.train.ids[i]}.png"
        if all(files[i].is_file() for files in found.values()):
            continue
        image, _ = run.train.load(i)  # its own labels are not looked at
        size = (image.height, image.width)
        inputs = validation_input(image, settings)
        for name, logits in pixel_logits(run.model, classifiers, inputs, size, settings):
            labels = self_training.pseudo_labels(
                logits,
                run.split.unseen,
                share=settings.self_training_share,
                keep_seen=settings.self_training_seen,
            )
            with atomic_write(found[name][i]) as file:
                Image.fromarray(labels.cpu().numpy()).save(file, "png")
    return found
