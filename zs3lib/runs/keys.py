"""What names that which a run has computed: hashes of all that it depends on."""

from __future__ import annotations

import inspect
from contextlib import suppress
from textwrap import dedent

from ..data.segmentation import SegmentationData
from ..method.methods import METHODS, trainer_of
from ..storage import code_hash, plain_code, text_hash

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
NOT_OWN = ("zs3lib", "torch", "builtins")  # modules whose code is hashed or of a version


def backbone(run) -> str:
    """Of a `Run`'s network after stage 1."""
    made_from = [run.split.unseen, run.train.fingerprint, run.inputs["weights"]]
    made_from.append(code_hash("method", "data", "runs/sources", "parallel"))
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
    made_from += [own_code(name) for name in settings.methods]
    return settings.key(*dict(settings).keys() - BESIDE, extra=made_from)


def own_code(method: str) -> str:
    """The code of a method that is not zs3lib's, of its trainer and its head, and what they extend.

    "" where Python has none.
    """
    trainer = trainer_of(method)
    own = []
    for made in (type(METHODS[method]), trainer, trainer.head_class):
        own += [k for k in made.mro() if k.__module__.partition(".")[0] not in NOT_OWN]
    code = ""
    for kind in own:
        with suppress(OSError, TypeError):  # typed at a prompt
            code += plain_code(dedent(inspect.getsource(kind)))
    return code
