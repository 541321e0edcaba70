"""Class lists, splits, tau and gamma, profiles; and every wrong setting answered by one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zs3lib import Settings, ZS3Error, split
from zs3lib.classes import CONTEXT_CLASSES, PAPER_KS, UNSEEN_ORDER, VOC_CLASSES
from zs3lib.settings import PROFILES, tau_gamma

SHARED = Path(__file__).parents[2] / "shared"


def test_class_lists_and_unseen_order():
    assert len(VOC_CLASSES) == 21 and len(CONTEXT_CLASSES) == 60 and CONTEXT_CLASSES[:21] == VOC_CLASSES
    assert UNSEEN_ORDER == (
        "cow", "motorbike", "aeroplane", "sofa", "cat", "tvmonitor", "train", "bottle", "chair", "pottedplant"
    )  # fmt: skip


@pytest.mark.parametrize("dataset", ["voc", "context"])
@pytest.mark.parametrize("k", range(1, 11))
def test_split_takes_the_first_k_and_keeps_background_seen(dataset, k):
    s = split(dataset, k)
    assert s.unseen_names == UNSEEN_ORDER[:k]
    assert sorted(s.seen + s.unseen) == list(range(len(s.names))) and 0 in s.seen


@pytest.mark.parametrize(
    "dataset, expected",
    [
        ("voc", {2: (0.85, 1 / 40), 4: (0.7, 1 / 80), 6: (0.7, 1 / 80), 8: (0.7, 1 / 80), 10: (0.85, 1 / 40)}),
        ("context", {2: (0.85, 1 / 160), 4: (0.7, 1 / 160), 6: (0.85, 1 / 80), 8: (0.85, 1 / 80), 10: (0.7, 1 / 160)}),
    ],
)
def test_tau_and_gamma_are_the_papers(dataset, expected):
    assert {k: tau_gamma(dataset, k) for k in PAPER_KS} == expected
    for k, (tau, gamma) in expected.items():
        s = Settings.make(profile="paper", dataset=dataset, k=k)
        assert (s.tau, s.gamma) == (tau, gamma)


@pytest.mark.skipif(not SHARED.exists(), reason="the original published_tables.csv is not at hand")
def test_published_numbers_are_shipped_unchanged():
    shipped = Path(__file__).parents[1] / "zs3lib" / "resources" / "published_tables.csv"
    assert shipped.read_bytes() == (SHARED / "published_tables.csv").read_bytes()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dataset", ["voc", "context"])
def test_every_profile_trains_any_k(profile, dataset):
    for k in range(1, 11):
        assert Settings.make(profile=profile, dataset=dataset, k=k).k == k


def test_text_from_the_command_line_becomes_the_settings_type():
    s = Settings.make(tau="0.5", methods="zs3net, ours", amp="false", stage2_epochs="7", aspp_rates="1,2,3")
    assert (s.tau, s.methods, s.amp, s.stage2_epochs, s.aspp_rates) == (0.5, ("zs3net", "ours"), False, 7, (1, 2, 3))


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"profile": "huge"}, "unknown profile 'huge'"),
        ({"dataset": "coco"}, "unknown dataset 'coco'"),
        ({"k": 0}, "k is 0"), ({"k": 11}, "k is 11"), ({"k": "six"}, "k is 'six'"), ({"k": 2.5}, "k is 2.5"),
        ({"k": True}, "k is True"),
        ({"methods": "zs4net"}, "unknown method 'zs4net'"), ({"colour": 1}, "unknown setting 'colour'"),
        ({"tau": 2}, "tau is 2"), ({"tau": float("nan")}, "tau is nan"), ({"tau": "high"}, "tau is 'high'"),
        ({"gamma": -1}, "gamma is -1"), ({"stage2_epochs": 0}, "stage2_epochs is 0"),
        ({"stage1_epochs": 1.5}, "stage1_epochs is 1.5"), ({"batch_size": 1}, "batch_size is 1"),
        ({"batch_size": True}, "batch_size is True"), ({"warmup_epochs": 99}, "warmup_epochs is 99"),
        ({"amp": "maybe"}, "amp is 'maybe'"), ({"noise": "pink"}, "noise is 'pink'"),
        ({"backbone": "vgg"}, "backbone is 'vgg'"), ({"seed": -1}, "seed is -1"), ({"samples": 1}, "samples is 1"),
        ({"classifier_lr": float("inf")}, "classifier_lr is inf"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_in_one_line(changes, says):
    with pytest.raises(ZS3Error) as error:
        Settings.make(**changes)
    assert says in str(error.value) and "\n" not in str(error.value)
