"""The three profiles: toy (embedded data, minutes), lite (real images, a small network) and paper (the paper's own setting)."""

from __future__ import annotations

from . import paths

# Settings for all datasets, and those that differ for one; `Settings` says what each means.
PROFILES: dict[str, dict[str, dict]] = {
    "toy": {
        "all": dict(
            data_root=str(paths.DATA / "toy"), weights=str(paths.DATA / "toy" / "weights" / "resnet18_toy.pt"),
            word_vectors=str(paths.DATA / "toy" / "wordvectors.txt"), backbone="resnet18", aspp_rates=(2, 4, 6),
            base_size=80, crop_size=64, scale_min=0.75, scale_max=1.25, blur=0.2, val_size=80, batch_size=16,
            dropout=False, stage1_optimiser="adamw", stage1_steps=60, stage1_lr=2e-3, fresh_lr_factor=1,
            frozen_blocks=5, frozen_bn=True, views=1,
            stage2_epochs=5, warmup_epochs=3, classifier_lr=0.05, samples=48,
            loss_at="feature", generator_lr=5e-4, word_norm="noise",
        ),
        "context": dict(  # three times as many classes an image, so three times as many generator steps an epoch
            methods=("no_generator", "zs3net", "ours"), stage2_epochs=4, warmup_epochs=2, views=2,
        ),
    },
    "lite": {
        "all": dict(
            data_root=str(paths.DATA), weights=str(paths.DATA / "weights" / "mobilenet_v2_imagenet.pth"),
            word_vectors=str(paths.DATA / "wordvectors.txt"), backbone="mobilenet_v2", aspp_rates=(2, 4, 6),
            base_size=256, crop_size=256, scale_min=0.75, scale_max=1.25, blur=0.2, val_size=256, dropout=False,
            stage1_optimiser="adamw", stage1_epochs=12, stage1_lr=2e-4, fresh_lr_factor=5, frozen_blocks=7, frozen_bn=True,
            stage1_from_k=10, stage1_from_epochs=3, views=1, shared_views=True, cell_stride=4, stage2_epochs=8,
            warmup_epochs=4, classifier_lr=0.2, loss_at="feature", generator_lr=5e-4, word_norm="unit", workers=1,
        ),
        "context": dict(methods=("no_generator", "zs3net", "ours")),
    },
    "paper": {
        "all": dict(
            data_root=str(paths.DATA), weights=str(paths.DATA / "weights" / "resnet101_imagenet.pth"),
            word_vectors="word2vec-google-news-300", backbone="resnet101", multi_grid=(1, 2, 4),
            align_corners=True, stage1_epochs=30,
            stage2_epochs=30, warmup_epochs=5, views=4, classifier_lr=1e-7, classifier_loss="sum",
            unseen_weight=100.0, workers=8,
        ),
        "context": dict(methods=("no_generator", "zs3net", "ours"), stage1_epochs=20, stage2_epochs=20),
    },
}  # fmt: skip
