"""Classes added by their names: what the fit may change, what is predicted, what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_bad_input import one_line

from zs3lib import add_classes, open_run
from zs3lib.data.words import load_word_vectors, read
from zs3lib.explore.new_classes import LONGEST, fit, open_picture
from zs3lib.explore.trial import trial
from zs3lib.method.metrics import class_iou
from zs3lib.runs import run
from zs3lib.runs.run import toy_run
from zs3lib.toy import scenes


@pytest.fixture(scope="module")
def opened(trained):
    return open_run(trained / "runs" / "toy" / "voc-k10-s0")


@pytest.fixture(scope="module")
def segmenter(opened):
    return add_classes(opened, "zebra, van")


def test_new_rows_tell_new_words_from_known_ones_and_known_rows_stay(opened, same):
    head = opened.heads["ours"]
    before = copy.deepcopy(head.state_dict())
    vectors = torch.nn.functional.normalize(torch.randn(3, 300)) * head.words[0].norm()
    state = torch.random.get_rng_state()
    classifier, losses = fit(head, vectors, weight=1.0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert same(before, head.state_dict())
    assert torch.equal(classifier.weight[:21], head.classifier.weight)
    assert losses[-1] < 0.9 * losses[0]
    again, _ = fit(head, vectors, weight=1.0)
    assert torch.equal(again.weight, classifier.weight)


def test_words_are_found_and_their_neighbours_told(opened, segmenter):
    assert segmenter.names == (*opened.split.names, "zebra", "van")
    near = segmenter.neighbours().set_index("new class")["nearest known classes (cosine)"]
    assert "horse" in near["zebra"]  # the toy world's own words
    other = add_classes(str(opened.folder / "metrics.json"), ["striped horse", "Zebra", "Zebra"])
    assert other.new == ("striped horse", "Zebra")
    assert other.substitutions == {"striped horse": "striped + horse", "Zebra": "zebra"}


def test_a_prediction_is_that_of_the_evaluation_with_its_confidence(opened, segmenter):
    image, truth = scenes.stranger(["zebra"], segmenter.names, 0)
    found = segmenter.predict(image)
    with_new = replace(opened, heads={"new": SimpleNamespace(classifier=segmenter.classifier)})
    labels = with_new.predict(Image.fromarray(image))["new"]
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.of("van"), found.probabilities[22])
    table = found.summary(truth)
    assert "zebra" in table.index and table["pixels"].sum() == pytest.approx(100)
    for name, row in table.iterrows():
        here = found.labels == segmenter.names.index(name)
        there = truth == segmenter.names.index(name)
        union = ((here | there) & (truth != 255)).sum()
        assert row["IoU"] == pytest.approx(100 * (here & there).sum() / union if union else 0)
        if row["pixels"]:
            sure = 100 * found.confidence[here].mean()
            assert row["mean confidence"] == pytest.approx(sure, rel=1e-4)
    assert found.summary()["IoU"].isna().all()


def test_pictures_are_opened_upright_in_rgb_and_no_larger_than_needed(tmp_path):
    Image.new("L", (70, 50), 90).save(tmp_path / "grey.png")
    grey = open_picture(str(tmp_path / "grey.png"))
    assert grey.size == (70, 50) and grey.mode == "RGB"
    large = Image.new("RGBA", (3 * LONGEST, LONGEST))
    assert open_picture(large).size == (LONGEST, round(LONGEST / 3))
    turned = Image.new("RGB", (60, 40))
    turned.getexif()[0x0112] = 6  # a phone held upright
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    assert open_picture(tmp_path / "turned.jpg").size == (40, 60)


@pytest.mark.parametrize(
    "picture, part",
    [
        (__file__, "test_new_classes.py cannot be read as a picture"),
        ("nowhere.jpg", "nowhere.jpg"),
        (np.zeros((4, 4, 3)), "this ndarray"),
        (Path(__file__).parents[1] / "figures/toy/fig3.png", "exceeds limit of 2000 pixels"),
    ],
)
def test_what_is_no_picture_or_a_huge_one_is_told(picture, part, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert part in one_line(lambda: open_picture(picture))


@pytest.mark.parametrize(
    "words, given, parts",
    [
        ("zebre", {}, ["'zebre'", "zebra", "new words of the toy world"]),
        (["school bus"], {}, ["'school' is unknown"]),
        ("zebra, cow", {}, ["'cow' is a class"]),
        ("zebra", {"weight": 0}, ["weight is 0"]),
        ("zebra", {"method": 7}, ["unknown method '7': toy/voc-k10-s0 was run with no_generator"]),
        ([7, "zebra"], {}, ["no vector for '7'"]),  # papermill makes a number of it
        ("[zebra", {}, ["'[zebra' must be comma-separated values"]),
        (" , ", {}, ["no class name"]),
        (None, {}, ["no class name"]),
    ],
)
def test_words_that_cannot_be_added(opened, words, given, parts):
    message = one_line(lambda: add_classes(opened, words, **given))
    assert all(part in message for part in parts), message


def test_other_word_vectors_than_the_runs_are_refused(opened):
    head = copy.deepcopy(opened.heads["ours"])
    head.words = head.words.flip(0)
    other = replace(opened, heads={"ours": head})
    assert "are not those that" in one_line(lambda: add_classes(other, "zebra"))


def test_a_new_word_may_be_longer_than_all_that_the_run_scaled_by(opened, tmp_path):
    """ZS3Net divides VOC's vectors by the largest norm."""
    vectors = read(Path(opened.settings.word_vectors))
    vectors.vectors[vectors.key_to_index["zebra"]] *= 100
    longer = tmp_path / "longer.txt"
    vectors.save_word2vec_format(str(longer))
    changes = {"word_norm": "largest", "word_vectors": str(longer)}
    table, _ = load_word_vectors(str(longer), opened.split.names, norm="largest")
    head = copy.deepcopy(opened.heads["ours"])
    head.words.copy_(torch.from_numpy(table))
    settings = opened.settings.model_copy(update=changes)
    run = replace(opened, settings=settings, heads={"ours": head})
    found = add_classes(run, "zebra").vectors.norm(dim=1)
    assert found[:-1].max() == pytest.approx(1) and found[-1] > 10


def test_a_run_that_is_not_there_is_told_how_to_make(tmp_path):
    folder = tmp_path / "lite" / "voc-k4-s1"
    message = one_line(lambda: add_classes(folder, "zebra"))
    assert "make runs/lite/voc-k4-s1/metrics.json PROFILE=lite K=4 SEED=1" in message
    assert "make runs/lite/voc-k4-s1" in one_line(lambda: toy_run(folder))
    for name in ("somewhere", "context-k4-s1-zs3net-holdout"):  # how much is held out, no name says
        assert "notebooks/train.ipynb" in one_line(lambda: toy_run(tmp_path / "toy" / name))


def test_a_missing_toy_run_is_trained_once(settings, tmp_path, monkeypatch, capsys):
    def tiny(**given):
        return settings(methods=("ours",), stage2_epochs=1, **given)

    monkeypatch.setattr(run, "Settings", SimpleNamespace(make=tiny))
    monkeypatch.setattr(run, "CACHE", tmp_path / "cache")
    folder = toy_run(tmp_path / "toy" / "voc-k9-s3")
    assert "toy/voc-k9-s3 is not there yet" in capsys.readouterr().out
    monkeypatch.undo()
    made = open_run(folder)
    assert set(made.heads) == {"ours"} and made.settings.seed == 3
    monkeypatch.setattr(run, "Run", None)
    assert toy_run(folder) == toy_run(str(folder / "metrics.json")) == folder
    assert "run without ZS3Net" in one_line(lambda: open_run(folder, methods=["zs3net"]))


def test_the_trial_scores_what_is_predicted(opened):
    assert "no word to try" in one_line(lambda: trial(opened, [], count=1))
    table = trial(opened, ["zebra"], count=1).loc["zebra"]
    segmenter = add_classes(opened, "zebra")
    image, truth = scenes.stranger(["zebra"], segmenter.names, 0)
    inside = truth != 255
    own = opened.predict(Image.fromarray(image), ["ours"])["ours"]
    renamed = np.where(own == segmenter.names.index(table["nearest"]), 21, own)
    labels = {"its word vector": segmenter.predict(image).labels, "renamed": renamed}
    for column, found in labels.items():
        confusion = np.zeros((22, 22), int)
        np.add.at(confusion, (truth[inside], found[inside]), 1)
        assert table[column] == pytest.approx(100 * class_iou(confusion)[21])
    assert 0 <= table["a random vector"] <= 100
