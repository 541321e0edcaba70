"""The world of two dimensions: features and images that Trainer takes as it takes a backbone's."""

from __future__ import annotations

import torch

from zs3lib import Settings
from zs3lib.explore import plane


def test_words_features_and_images_fit_together():
    parts = plane.split()
    images = plane.Images(10)
    assert parts.unseen_names == ("cow",) and len(parts.seen) == 5
    assert plane.words().shape == (6, 2)
    assert images.features.shape == (10, 8, 8, 2) and images.labels.shape == (10, 8, 8)
    assert images.labels.unique().tolist() == list(range(6))
    assert (images.labels == 5).flatten(1).any(1).sum() < 10  # some are seen throughout
    batches = list(images.epoch(0))
    assert [len(labels) for _, labels in batches] == [4, 4, 2] and images.batches == 3
    centres = torch.stack([plane.real_features(c, 400).mean(0) for c in range(6)])
    apart = torch.cdist(centres, centres) + 99 * torch.eye(6)
    assert apart.min() > 2 * plane.SPREAD  # the clouds are apart, if not far


def test_the_trainer_of_the_pictures_learns_in_the_plane_and_goes_on_from_another():
    settings = Settings.make(
        feature_dim=2,
        samples=32,
        batch_size=4,
        stage2_epochs=8,
        warmup_epochs=4,
        generator_lr=3e-3,
        classifier_lr=0.5,
        unseen_weight=1.0,
        tau=0.0,
        device="cpu",
    )
    images = plane.Images(8)
    warm = plane.train("zs3net", images, settings, range(4))
    before = warm.head.classifier.weight.clone()
    ours = plane.train("ours", images, settings, range(4, 8), warm)
    assert torch.equal(before, warm.head.classifier.weight) and not ours.head.training
    assert ours.recursing and not warm.recursing
    whole = plane.train("ours", images, settings, range(8))  # the same draws, the same end
    assert torch.equal(whole.head.classifier.weight, ours.head.classifier.weight)
    with torch.no_grad():
        for c in (0, 1, 2):
            answers = ours.head.classifier(plane.real_features(c, 50, seed=1)).argmax(1)
            assert (answers == c).float().mean() > 0.7
