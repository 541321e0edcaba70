"""ZS3Net's released files (github.com/valeoai/ZS3): its network and its generator, read into ours.

`deeplab_pretrained_pascal_voc_<K>_unseen.pth.tar` holds {"state_dict": ..., "optimizer": ..., "epoch": ..., "best_pred": ...};
with `weights=<that file>` stage 1 is skipped, since it is what their stage 1 left.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .errors import ZS3Error
from .generator import Generator

if TYPE_CHECKING:
    from .settings import Settings

# Theirs -> ours. Both networks have the same layers in the same order; only the names differ.
RENAMED = {
    "backbone.conv1": "backbone.stem.0",
    "backbone.bn1": "backbone.stem.1",
    **{f"backbone.layer{n}": f"backbone.layer{n}" for n in (1, 2, 3, 4)},
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
NETWORK = {"backbone": "resnet101", "multi_grid": (1, 2, 4), "aspp_rates": (6, 12, 18), "align_corners": True}


def unwrapped(content: dict) -> dict[str, Tensor]:
    """The tensors of a checkpoint: its "state_dict" where it has one, without the "module." of DataParallel."""
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError("it holds no state dict of tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def is_network(state: dict[str, Tensor]) -> bool:
    """Whether tensors are a whole DeepLabv3+ in ZS3Net's layout."""
    return "decoder.pred_conv.weight" in state


def load_network(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a network in ZS3Net's layout into our `DeepLabV3Plus`, its classifier too.

    Every tensor is used and every one of ours is set; the one exception is `num_batches_tracked`, which old releases of
    torch did not save and inference does not read. Raises RuntimeError (KeyError, ValueError) naming what does not fit.
    """
    renamed = {}
    for key, value in state.items():
        theirs = next((part for part in RENAMED if key.startswith(f"{part}.")), None)
        if theirs is None:
            raise ValueError(f"{key} is no tensor of ZS3Net's DeepLabv3+")
        renamed[RENAMED[theirs] + key.removeprefix(theirs)] = value
    counters = {k: v for k, v in model.state_dict().items() if k.endswith(".num_batches_tracked") and k not in renamed}
    model.load_state_dict(renamed | counters)


def check_settings(settings: Settings) -> None:
    """Refuse a ZS3Net checkpoint as `settings.weights` under settings that make another network of it, or for other unseen classes.

    Their file names give the number of unseen classes. On Context their code leaves out other classes than this paper's
    from the third on, so only K = 2 is the same split there.
    """
    path = Path(settings.weights)
    for name, value in NETWORK.items():
        if getattr(settings, name) != value:
            raise ZS3Error(
                f"weights file {path} is a ZS3Net checkpoint, a network with {name} = {value}: here {name} is "
                f"{getattr(settings, name)}; take the paper profile or set it"
            )
    named = re.search(r"(voc|context)_0?(\d+)_unseen", path.name)
    if named and (named[1], int(named[2])) != (settings.dataset, settings.k):
        raise ZS3Error(
            f"weights file {path} was trained for {named[1]} with {int(named[2])} unseen classes, this run is "
            f"{settings.dataset} with k = {settings.k}: it would have seen what must stay unseen, or the other way round"
        )
    if settings.dataset == "context" and settings.k != 2:
        raise ZS3Error(
            f"weights file {path}: ZS3Net's unseen classes on Context are this paper's at k = 2 alone, not at k = "
            f"{settings.k}; train stage 1 from ImageNet weights"
        )


def load_generator(path: str | Path, *, noise: str = "uniform") -> Generator:
    """A generator in ZS3Net's layout (`model.0`: Linear on [word | noise], `model.3`: Linear) as ours.

    Arguments:
        path: `<epoch>_generator.pth.tar`, {"state_dict": ...}, or the bare state dict.
        noise: what it was trained with; ZS3Net's code draws uniform noise.

    Returns: a `Generator` of the file's sizes, in evaluation mode. Raises ZS3Error when the file is no such generator.
    """
    from .checkpoints import load_weights

    try:
        state = unwrapped(load_weights(path))
        weight = state["model.0.weight"]
        hidden, inputs = weight.shape
        words, noises = weight.split(inputs // 2, dim=1)  # their torch.cat((embedding, noise), 1)
        generator = Generator(word_dim=inputs // 2, hidden=hidden, noise=noise)
        known = {"model.0.weight", "model.0.bias", "model.3.weight", "model.3.bias"}
        if unknown := sorted(set(state) - known):
            raise ValueError(f"{unknown[0]} is no tensor of the generator")
        generator.load_state_dict({
            "word_weight": words.clone(), "noise_weight": noises.clone(), "bias": state["model.0.bias"],
            "output.weight": state["model.3.weight"], "output.bias": state["model.3.bias"],
        })  # fmt: skip
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ZS3Error(f"{path} is no generator in ZS3Net's layout ({reason})") from error
    return generator.eval()
