"""Pretrained weights and ZS3Net's released files (github.com/valeoai/ZS3), put into our network."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ZS3Error, one_line
from ..method.generator import Generator
from ..storage import load_weights

# Theirs -> ours. Both networks have the same layers in the same order; only some names differ.
RENAMED = {
    "backbone": "backbone",
    **{f"aspp.aspp{n + 1}.atrous_conv": f"aspp.convs.{n}.0" for n in range(4)},
    **{f"aspp.aspp{n + 1}.bn": f"aspp.convs.{n}.1" for n in range(4)},
    "aspp.global_avg_pool.1": "aspp.convs.4.1",
    "aspp.global_avg_pool.2": "aspp.convs.4.2",
    "aspp.conv1": "aspp.project.0",
    "aspp.bn1": "aspp.project.1",
    "decoder.conv1": "decoder.reduce.0",
    "decoder.bn1": "decoder.reduce.1",
    **{f"decoder.last_conv.{n}": f"decoder.fuse.{n}" for n in (0, 1, 4, 5)},
    "decoder.pred_conv": "classifier",
}
# The settings under which ours computes what theirs computes.
NETWORK = {
    "backbone": "resnet101",
    "multi_grid": (1, 2, 4),
    "aspp_rates": (6, 12, 18),
    "align_corners": True,
    "feature_dim": 256,
}


def load_pretrained(network: nn.Module, settings) -> str:
    """Put the weights of `settings.weights` into a DeepLabv3+ and say what they were.

    Returns: "imagenet", torchvision's or ZS3Net's weights of the backbone; "network", a whole
    network of ours, whose classifier is not taken; "zs3net", a whole network in ZS3Net's layout.

    Raises ZS3Error naming the file and the first tensor that does not fit.
    """
    try:
        state = tensors(settings.weights)
        if "decoder.pred_conv.weight" in state:
            check_settings(settings)
            load_network(network, state)
            return "zs3net"
        if not any(key.startswith("decoder.") for key in state):
            last = ("fc.", "classifier.", "features.18.")  # what comes last: it classifies
            kept = {key: value for key, value in state.items() if not key.startswith(last)}
            kept = {key.removeprefix("features."): value for key, value in kept.items()}
            network.backbone.load_state_dict(kept)
            return "imagenet"
        own = network.state_dict()
        kept = {key: own[key] for key in own if key.startswith("classifier.")}
        given = {key: value for key, value in state.items() if key not in kept}
        if wrong := sorted((own.keys() - kept.keys()) ^ given.keys()):
            raise ValueError(f"{len(wrong)} tensors do not match, the first is {wrong[0]}")
        network.load_state_dict(given | kept)
        return "network"
    except (RuntimeError, AttributeError, ValueError, KeyError) as error:
        where = f"{settings.weights} does not fit the {settings.backbone} backbone"
        raise ZS3Error(f"weights file {where}: {one_line(error)}") from error


def tensors(path: str | Path) -> dict[str, Tensor]:
    """A checkpoint's finite tensors: its "state_dict" or "model", without DataParallel's "module.".

    Raises ValueError where there are none.
    """
    state = load_weights(path)
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and name in state:
            state = state[name]
    if not (isinstance(state, dict) and state and all(map(torch.is_tensor, state.values()))):
        raise ValueError("it holds no state dict of tensors")
    for key, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f"{key} holds values that are not finite")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_network(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a network in ZS3Net's layout into our `DeepLabV3Plus`, its classifier too.

    Every tensor is used and every one of ours is set; the one exception is `num_batches_tracked`,
    which old releases of torch did not save and inference does not read. Raises RuntimeError or
    ValueError naming what does not fit.
    """
    own = network.state_dict()
    renamed = {key: own[key] for key in own if key.endswith(".num_batches_tracked")}
    for key, value in state.items():
        theirs = next((part for part in RENAMED if key.startswith(f"{part}.")), None)
        if theirs is None:
            raise ValueError(f"{key} is no tensor of ZS3Net's DeepLabv3+")
        renamed[RENAMED[theirs] + key.removeprefix(theirs)] = value
    network.load_state_dict(renamed)


def check_settings(settings) -> None:
    """Refuse a ZS3Net checkpoint under settings of another network, or for other unseen classes."""
    path = Path(settings.weights)
    dataset = settings.dataset
    k = settings.k
    named = re.search(r"(voc|context)_0?(\d+)_unseen", path.name)
    problem = ""
    if other := [name for name in NETWORK if getattr(settings, name) != NETWORK[name]]:
        here = getattr(settings, other[0])
        theirs = f"{other[0]} = {NETWORK[other[0]]}"
        problem = f"it has {theirs}, here it is {here}: take the paper profile"
    elif named and (named[1], int(named[2])) != (dataset, k):
        trained = f"{named[1]} with {int(named[2])} unseen classes"
        here = f"this run is {dataset} with k = {k}"
        problem = f"it was trained for {trained}, {here}: take the file of the same"
    elif dataset == "context" and k != 2:
        same = "its unseen classes on Context are this paper's at k = 2 alone"
        problem = f"{same}: train stage 1 from ImageNet weights"
    if problem:
        raise ZS3Error(f"weights file {path} is a ZS3Net checkpoint: {problem}")


def load_generator(path: str | Path, *, noise: str = "uniform") -> Generator:
    """A generator as ZS3Net saves it, in evaluation mode.

    `path` is `<epoch>_generator.pth.tar`, {"state_dict": ...}, or the bare state dict; it was
    trained with `noise`, in ZS3Net's code uniform. Raises ZS3Error when it is no such generator.
    """
    try:
        state = tensors(path)
        hidden, inputs = state["model.0.weight"].shape
        sizes = {"word_dim": inputs // 2, "hidden": hidden}
        generator = Generator(**sizes, noise=noise, feature_dim=len(state["model.3.weight"]))
        generator.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ZS3Error(f"{path} is no generator in ZS3Net's layout ({one_line(error)})") from error
    return generator.eval()
