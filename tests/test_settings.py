"""Splits, profiles, and settings as papermill and make hand them over; one line for a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_bad_input import one_line

from zs3lib import Settings, ZS3Error, split
from zs3lib.classes import CONTEXT_CLASSES, PAPER_KS, VOC_CLASSES, tau_gamma
from zs3lib.settings import PROFILES

UNSEEN = (
    "cow motorbike aeroplane sofa cat tvmonitor train bottle chair pottedplant"  # the paper's order
).split()
TAU_GAMMA = {
    "voc": [(0.85, 1 / 40), (0.7, 1 / 80), (0.7, 1 / 80), (0.7, 1 / 80), (0.85, 1 / 40)],
    "context": [(0.85, 1 / 160), (0.7, 1 / 160), (0.85, 1 / 80), (0.85, 1 / 80), (0.7, 1 / 160)],
}


# ---- classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset, count", [("voc", 21), ("context", 60)])
def test_a_split_takes_the_first_k_with_the_papers_tau_and_gamma(dataset, count):
    assert CONTEXT_CLASSES[:21] == VOC_CLASSES
    expected = dict(zip(PAPER_KS, TAU_GAMMA[dataset]))
    for k in range(1, 11):
        parts = split(dataset, k)
        assert list(parts.unseen_names) == UNSEEN[:k] and 0 in parts.seen
        assert sorted(parts.seen + parts.unseen) == list(range(count))
        s = Settings.make(profile="paper", dataset=dataset, k=k)
        assert (s.tau, s.gamma) == expected[k + k % 2]  # of the next larger K of the paper


def test_contexts_unseen_classes_by_zs3nets_list():
    theirs = "cow motorbike sofa cat boat fence bird tvmonitor aeroplane keyboard".split()
    assert list(split("context", 10, "zs3net").unseen_names) == theirs
    s = Settings.make(dataset="context", k=4, unseen_list="zs3net")
    assert s.run_name == "context-k4-s0-zs3net" and s.tau == tau_gamma("context", 4)[0]
    with pytest.raises(ZS3Error, match="unknown unseen_list 'zs3net' of voc: choose one of paper"):
        Settings.make(dataset="voc", unseen_list="zs3net")


def test_published_numbers_are_shipped_unchanged():
    original = Path(__file__).parents[2] / "shared" / "published_tables.csv"
    if not original.exists():
        pytest.skip("the original published_tables.csv is not at hand")
    shipped = Path(__file__).parents[1] / "zs3lib" / "resources" / "published_tables.csv"
    assert shipped.read_bytes() == original.read_bytes()


# ---- what is accepted ---------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_survives_a_record(profile):
    for dataset in TAU_GAMMA:
        s = Settings.make(profile=profile, dataset=dataset)
        assert Settings(**json.loads(json.dumps(s.as_dict()))) == s


@pytest.mark.parametrize(
    "name, given, meant",
    [
        ("k", (6, "6", 6.0, "6.0"), 6),
        ("stage2_epochs", (6, "6", 6.0, "6.0"), 6),
        ("tau", (1, "1", 1.0, "1."), 1.0),
        ("amp", (False, "false", "False", 0, "0"), False),
        ("methods", ("zs3net,ours", "zs3net, ours", '["zs3net", "ours"]'), ("zs3net", "ours")),
        ("aspp_rates", ("1,2,3", "1, 2, 3", "[1, 2, 3]", [1, 2, 3], (1, 2, 3)), (1, 2, 3)),
        ("aspp_rates", (3, "3", 3.0, [3.0]), (3,)),
        ("weights", (2024, "2024"), "2024"),  # a path that looks like a number
        ("word_vectors", ("word2vec-google-news-300",), "word2vec-google-news-300"),  # no path
    ],
)
def test_what_papermill_hands_over_becomes_the_settings_type(name, given, meant):
    for value in given:
        found = getattr(Settings.make(**{name: value}), name)
        assert found == meant and type(found) is type(meant)


def test_paths_become_absolute_for_whoever_reads_the_record_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "20130110").write_text("")
    s = Settings.make(data_root=2012, weights="20130110", word_vectors=20130110)
    assert s.data_root == str(tmp_path / "2012")
    assert s.weights == s.word_vectors == str(tmp_path / "20130110")
    monkeypatch.setenv("HOME", "/somewhere/else")  # which no shell has put in
    assert Settings.make(data_root="~/pascal").data_root == "/somewhere/else/pascal"


def test_what_is_left_empty_keeps_the_profiles_value():
    default = Settings.make(profile="lite")
    assert Settings.make(profile="lite", data_root="", tau=None, methods="", options="") == default


@pytest.mark.parametrize("options", [{"tau": 0.5, "seed": 3}, '{"tau": 0.5, "seed": 3}'])
def test_options_are_settings_by_name(options):
    s = Settings.make(holdout=0.2, options=options)
    assert (s.tau, s.seed, s.run_name) == (0.5, 3, "voc-k10-s3-holdout")


def test_a_key_changes_with_its_settings_alone():
    a = Settings.make()
    b = Settings.make(tau=0.5)
    assert a.key("tau") != b.key("tau") and a.key("gamma") == b.key("gamma")
    assert a.key("gamma", extra="data") != a.key("gamma")


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(  # what papermill's -p may hand over is in bad_inputs.py
    "changes, says",
    [
        ({"dataset": ["voc"]}, "unknown dataset"),
        ({"stage2_epochs": float("inf")}, "stage2_epochs is inf: it must be a finite number"),
        ({"scale_min": 2, "scale_max": 1}, "scale_max is 1.0: it must be from 2.0 to 10"),
        ({"cell_stride": 2, "loss_at": "image"}, "cell_stride is 2: a loss at the image's"),
        ({"amp": "maybe"}, "amp is 'maybe': it must be true or false"),
        ({"aspp_rates": "a,2"}, "aspp_rates is 'a': it must be a whole number"),
        ({"aspp_rates": "[1,"}, "aspp_rates is '[1,': it must be comma-separated values"),
        ({"aspp_rates": [True]}, "aspp_rates is True: it must be a number"),
        ({"aspp_rates": "0,2"}, "aspp_rates is (0, 2): it must be whole numbers from 1 on"),
        ({"multi_grid": []}, "multi_grid is (): it must be whole numbers from 1 on"),
        ({"methods": []}, "no method given: choose from"),
        ({"methods": 5}, "methods is 5"),
        ({"colour": 1}, "unknown setting 'colour': zs3lib/settings.py has them all"),
        ({"options": {"k": 3}}, "options hold 'k': give it as a parameter of its own"),
        ({"tau": 0.9, "options": {"tau": 0.5}}, "options hold 'tau': give it as a parameter"),
        ({"options": 5}, "options is 5: it must be a dictionary"),
        ({"options": "[1]"}, "options is [1]: it must be a dictionary"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(changes, says):
    assert says in one_line(lambda: Settings.make(**changes))
