"""What names that which a run has computed: hashes of all that it depends on."""

import sys
from collections.abc import Iterable
from pathlib import Path

from ..data.segmentation import SegmentationData
from ..method.methods import METHODS, trainer_of
from ..storage import code_hash, python_hash, text_hash

# Settings that stage 1 depends on, and those that no stage does: where things lie, the machine, and
# what comes after. Another value of one that counts is another key.
STAGE1 = (
    "dataset background backbone feature_dim aspp_rates multi_grid dropout align_corners base_size "
    "crop_size scale_min scale_max blur backbone_seed stage1_batch_size stage1_loss stage1_epochs "
    "stage1_steps stage1_optimiser stage1_lr fresh_lr_factor frozen_blocks frozen_bn momentum "
    "weight_decay amp"
).split()
BESIDE = (
    "data_root weights word_vectors device compile workers val_size self_training "
    "self_training_share self_training_seen"
).split()


def backbone(run) -> str:
    """Of a `Run`'s network after stage 1."""
    made_from = [run.split.unseen, run.train.fingerprint, run.inputs["weights"]]
    made_from.append(code_hash("method", "data", "runs/sources", "parallel"))
    reader = type(run.train).__module__
    if not reader.startswith("zs3lib."):
        made_from.append(_module_hash(reader))
    return run.settings.key(*STAGE1, extra=made_from)


def features(run, images: SegmentationData) -> str:
    """Of the frozen network's features of stage 2's images: their folder's name."""
    settings = run.settings
    weights = b"".join(
        value.cpu().numpy().tobytes()
        for name, value in run.model.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts on when statistics stay
    )
    views = settings.key("views", "batch_size", "frozen_training")
    content = [run.backbone_key, text_hash(weights), images.fingerprint, views]
    return f"{settings.dataset}-k{settings.k}-{text_hash(repr(content))}"


def heads(run) -> str:
    """Of its heads."""
    settings = run.settings
    made_from = [run.backbone_key, run.inputs["word_vectors"], code_hash("extras")]
    made_from.append(run.own_code)
    return settings.key(*dict(settings).keys() - BESIDE, extra=made_from)


def own_code(methods: Iterable[str]) -> dict[str, str]:
    """{package: hash of its code} of packages other than zs3lib that methods are made of: their
    classes, trainers, heads and generators, and what these extend. A file that is in no package
    counts as one.
    """
    found = {}
    for name in methods:
        trainer = trainer_of(name)
        head = trainer.head_class
        for kind in (type(METHODS[name]), trainer, head, head.generator_class):
            for base in kind.mro():
                package = base.__module__.partition(".")[0]
                if package not in ("zs3lib", "torch", "builtins", *found):
                    found[package] = _module_hash(package)
    return found


def _module_hash(name: str) -> str:
    """Of a module's file, or of all files of a package; "" of what was typed at a prompt."""
    module = sys.modules[name]
    file = getattr(module, "__file__", None)
    if not file:
        return ""
    whole = Path(file).parent.rglob("*.py")
    return python_hash(sorted(whole) if hasattr(module, "__path__") else [Path(file)])
