"""The world of two dimensions: words, features and images that Trainer takes as it takes a backbone's."""

from __future__ import annotations

import torch

from zs3lib import plane
from zs3lib.settings import Settings
from zs3lib.stage2 import Trainer


def test_words_features_and_images_fit_together():
    parts, cache = plane.split(), plane.images(10)
    assert parts.unseen_names == ("cow",) and len(parts.seen) == 5 and plane.words().shape == (6, 2)
    assert cache.features.shape == (10, 8, 8, 2) and cache.labels.shape == (10, 8, 8)
    assert set(cache.labels.unique().tolist()) == set(range(6))
    assert (cache.labels == 5).flatten(1).any(1).sum() < len(cache)  # some images are seen throughout
    centres = torch.stack([plane.real_features(c, 400).mean(0) for c in range(6)])
    apart = torch.cdist(centres, centres) + 99 * torch.eye(6)
    assert apart.min() > 2 * plane.SPREAD  # the clouds are apart, if not far


def test_the_trainer_of_the_pictures_learns_in_the_plane():
    settings = Settings.make(
        samples=32, batch_size=4, stage2_epochs=8, warmup_epochs=4, generator_lr=3e-3, classifier_lr=0.5,
        unseen_weight=1.0, tau=0.0, device="cpu",
    )  # fmt: skip
    trainer = Trainer("ours", plane.images(8), plane.words(), plane.split(), settings)
    for _ in range(8):
        trainer.train_epoch()
    assert trainer.history["recursion"][3] is None and trainer.history["recursion"][-1] is not None
    assert trainer.history["generator"][-1] < 0.6 * trainer.history["generator"][0]
    trainer.head.eval()
    with torch.no_grad():
        answers = [trainer.head.classifier(plane.real_features(c, 50, seed=1)).argmax(1) for c in (0, 1, 2)]
    assert all((answer == c).float().mean() > 0.7 for c, answer in enumerate(answers))
