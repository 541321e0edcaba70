"""The three profiles: toy (embedded data, minutes), lite (real images, a small network) and paper
(the paper's own setting). `Settings` says what each value means.
"""

from __future__ import annotations

from .paths import DATA, RESOURCES

PAPER_METHODS = ("no_generator", "zs3net", "ours")  # of a dataset without the ablation, Table III

# Settings for all datasets, and those that differ for one.
PROFILES: dict[str, dict[str, dict]] = {
    "toy": {
        "all": {
            "data_root": str(DATA / "toy"),
            "weights": str(RESOURCES / "toy_backbone.pt"),
            "word_vectors": str(DATA / "toy" / "wordvectors.txt"),
            "backbone": "small",
            "feature_dim": 64,
            "aspp_rates": (1, 2, 3),
            "dropout": False,
            "base_size": 80,
            "crop_size": 64,
            "scale_min": 0.75,
            "scale_max": 1.25,
            "blur": 0.2,
            "val_size": 80,
            "batch_size": 16,
            "stage1_optimiser": "adamw",
            "stage1_steps": 100,
            "stage1_lr": 2e-3,
            "fresh_lr_factor": 1,
            "frozen_blocks": 5,
            "frozen_bn": True,
            "views": 1,
            "stage2_epochs": 4,
            "warmup_epochs": 2,
            "classifier_lr": 0.1,
            "unseen_weight": 5.0,
            "samples": 48,
            "loss_at": "feature",
            "generator_lr": 5e-4,
            "word_norm": "noise",
        },
        # Three times as many classes an image, so three times as many generator steps an epoch:
        # fewer epochs, and a classifier that makes up for it.
        "context": {
            "methods": PAPER_METHODS,
            "stage2_epochs": 2,
            "warmup_epochs": 1,
            "classifier_lr": 0.3,
        },
    },
    "lite": {
        "all": {
            "data_root": str(DATA),
            "weights": str(DATA / "weights" / "mobilenet_v2_imagenet.pth"),
            "word_vectors": str(DATA / "wordvectors.txt"),
            "backbone": "mobilenet_v2",
            "aspp_rates": (2, 4, 6),
            "dropout": False,
            "base_size": 256,
            "crop_size": 256,
            "scale_min": 0.75,
            "scale_max": 1.25,
            "blur": 0.2,
            "val_size": 256,
            "stage1_optimiser": "adamw",
            "stage1_epochs": 12,
            "stage1_lr": 2e-4,
            "fresh_lr_factor": 5,
            "frozen_blocks": 7,
            "frozen_bn": True,
            "views": 1,
            "cell_stride": 4,
            "stage2_epochs": 8,
            "warmup_epochs": 4,
            "classifier_lr": 0.2,
            "loss_at": "feature",
            "generator_lr": 5e-4,
            "word_norm": "unit",
            "workers": 1,
        },
        "context": {"methods": PAPER_METHODS},
    },
    "paper": {
        "all": {
            "data_root": str(DATA),
            "weights": str(DATA / "weights" / "resnet101_imagenet.pth"),
            "word_vectors": "word2vec-google-news-300",
            "backbone": "resnet101",
            "multi_grid": (1, 2, 4),
            "align_corners": True,
            "stage1_epochs": 30,
            "stage2_epochs": 30,
            "warmup_epochs": 5,
            "views": 4,
            "classifier_lr": 1e-7,
            "classifier_loss": "sum",
            "unseen_weight": 100.0,
            "workers": 8,
        },
        "context": {"methods": PAPER_METHODS, "stage1_epochs": 20, "stage2_epochs": 20},
    },
}
