"""Extra: self-training after a method, as ZS3Net has it; transductive.

The training images that show unseen classes come back without their label maps. What a method's
classifier predicts on them as unseen, where it is surest, stands in for those, and the whole
network is trained again by stage 1's code, on all classes and without a generator. That an image
shows an unseen class is known, and its pixels are seen in training: "this breaks the setting of
zero-shot learning" (Sec. IV-A), so that no such number may stand beside those of other methods
without saying so.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ..classes import VOID
from ..data.augment import Pictures, validation_input
from ..method import stage1
from ..method.deeplab import DeepLabV3Plus, build, freeze
from ..method.features import pixel_logits
from ..method.methods import SELF_TRAINED, title
from ..storage import Checkpoint, atomic_write

OPTIONS = ("self_training_share", "self_training_seen", "val_size")


def pseudo_labels(
    logits: Tensor, unseen: Sequence[int], *, share: float, keep_seen: bool = False
) -> Tensor:
    """The label map that stands in for an image's own, (C, H, W) float -> (H, W) uint8.

    Arguments:
        unseen: the classes of which the most confident pixels are kept; the others become void.
        share: how many percent of the pixels predicted as a class, rounded to whole pixels.
        keep_seen: whether pixels predicted as a seen class keep that prediction.
    """
    confidence, predicted = logits.softmax(0).flatten(1).max(0)
    kept = torch.full_like(predicted, VOID)
    if keep_seen:
        kept = torch.where(torch.isin(predicted, predicted.new_tensor(unseen)), kept, predicted)
    for c in unseen:
        own = (predicted == c).nonzero().flatten()
        surest = confidence[own].topk(round(share / 100 * len(own))).indices
        kept[own[surest]] = c
    return kept.view(logits.shape[1:]).byte()


def whole_network(network: DeepLabV3Plus, classifier: nn.Linear, settings) -> DeepLabV3Plus:
    """A copy of the frozen network with a method's classifier, to be trained."""
    copied = build(settings, classifier.out_features)  # what `freeze` changed is new here
    own = {"classifier.weight": classifier.weight[:, :, None, None]}
    own["classifier.bias"] = classifier.bias
    copied.load_state_dict(network.state_dict() | own)
    return copied


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
        network = whole_network(run.model, head.classifier, run.settings)
        done = Checkpoint(run.folder / f"{row}.pt", key(run))
        if (state := done.load()) is None:
            data = run.train.with_masks(label_maps(run)[name])
            source = Pictures(data, list(range(len(data))), run.settings)
            part = Checkpoint(run.folder / "self_training.pt", f"{key(run)} {name}")
            how = {"checkpoint": part, "stage": f"self-training: {title(name)}"}
            losses = stage1.train(network, source, run.settings, device=run.device, **how)
            run.interrupted |= part.resumed
            part.remove()
            state = {"model": network.state_dict(), "losses": losses}
            done.save(state)
        run.interrupted |= done.resumed
        network.load_state_dict(state["model"])
        networks[row] = freeze(network).to(run.device)
        run.history[row] = {"loss": state["losses"]}
    return networks


def label_maps(run) -> dict[str, dict[int, Path]]:
    """Label maps of the training images with unseen classes, {method: {image: PNG file}}.

    One pass of the frozen network serves all methods; files that are there are not made again.
    """
    settings = run.settings
    classifiers = {name: head.classifier for name, head in run.heads.items()}
    found: dict[str, dict[int, Path]] = {name: {} for name in classifiers}
    place = folder(run)
    kept = {"share": settings.self_training_share, "keep_seen": settings.self_training_seen}
    for i in sorted({*range(len(run.train))}.difference(run.seen_images)):
        for name, files in found.items():
            files[i] = place / name / f"{run.train.ids[i]}.png"
        if all(files[i].is_file() for files in found.values()):
            continue
        image, _ = run.train.load(i)  # its own labels are not looked at
        size = (image.height, image.width)
        inputs = validation_input(image, settings)
        for name, logits in pixel_logits(run.model, classifiers, inputs, size, settings):
            labels = pseudo_labels(logits, run.split.unseen, **kept)
            with atomic_write(found[name][i]) as file:
                Image.fromarray(labels.cpu().numpy()).save(file, "png")
    return found
