"""The world of two dimensions, where the Trainer of the pictures learns on points."""

from __future__ import annotations

import torch

from zs3lib import Settings
from zs3lib.explore import plane


def test_the_trainer_learns_in_the_plane_and_goes_on_from_another():
    sizes = {"feature_dim": 2, "samples": 32, "batch_size": 4, "unseen_weight": 1.0, "tau": 0.0}
    rates = {"generator_lr": 3e-3, "classifier_lr": 0.5, "device": "cpu"}
    settings = Settings.make(stage2_epochs=8, warmup_epochs=4, **sizes, **rates)
    images = plane.images(8)
    warm = plane.train("zs3net", images, settings, range(4))
    before = warm.head.classifier.weight.clone()
    ours = plane.train("ours", images, settings, range(4, 8), warm)
    assert torch.equal(before, warm.head.classifier.weight) and ours.recursing
    whole = plane.train("ours", images, settings, range(8))  # the same draws, the same end
    assert torch.equal(whole.head.classifier.weight, ours.head.classifier.weight)
    with torch.no_grad():
        for c in (0, 1, 2):
            answers = ours.head.classifier(plane.real_features(c, 50, seed=1)).argmax(1)
            assert (answers == c).float().mean() > 0.7
