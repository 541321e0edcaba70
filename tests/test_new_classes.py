"""Classes added by their names: what the fit may change, what is predicted, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from zs3lib import ZS3Error, add_classes, open_run, plots, run, storage
from zs3lib.explore.new_classes import fit
from zs3lib.explore.prediction import LONGEST, open_picture
from zs3lib.explore.trial import trial
from zs3lib.method.generator import Head
from zs3lib.method.metrics import class_iou
from zs3lib.run import toy_run
from zs3lib.toy import strangers


@pytest.fixture(scope="module")
def opened(trained):
    return open_run(trained / "runs" / "toy" / "voc-k10-s0")


@pytest.fixture(scope="module")
def segmenter(opened):
    return add_classes(opened, "zebra, van")


def one_line(call) -> str:
    with pytest.raises(ZS3Error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_new_rows_tell_new_words_from_known_ones_and_known_rows_stay():
    torch.manual_seed(0)
    words = torch.nn.functional.normalize(torch.randn(8, 300)) * 300**0.5
    head = Head(words=words[:5])
    index = torch.arange(8)
    with torch.no_grad():  # a generator without noise: one feature per word, up to dropout
        head.generator.model[0].weight[:, 300:] = 0
        known = head.eval().generator(words[:5], torch.zeros(5, 300), index[:5])
        head.classifier.weight.copy_(known / known.norm(dim=1, keepdim=True))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.random.get_rng_state()
    classifier, losses = fit(head, words[5:], weight=1.0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert classifier.weight.shape == (8, 256)
    assert torch.equal(classifier.weight[:5], head.classifier.weight)
    assert torch.equal(classifier.bias[:5], head.classifier.bias)
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        found = classifier(head.generator(words, torch.zeros(8, 300), index)).argmax(1)
    assert found[5:].tolist() == [5, 6, 7] and (found[:5] < 5).all()
    again, _ = fit(head, words[5:], weight=1.0)
    assert torch.equal(again.weight, classifier.weight)


def test_a_higher_weight_gives_a_new_class_more_of_what_is_between():
    torch.manual_seed(0)
    words = torch.randn(3, 300)
    words[2] = words[1] + 0.05 * torch.randn(300)  # the new word is all but the same as a known one
    head = Head(words=words[:2])
    shares = []
    for weight in (0.1, 1.0, 10.0):
        classifier, _ = fit(head, words[2:], weight=weight)
        with torch.no_grad():
            found = classifier(head.generate(1, 400)).argmax(1)
        shares.append((found == 2).float().mean().item())
    assert shares[0] < 0.2 and shares[0] < shares[1] < shares[2] and shares[2] > 0.8


def test_names_rows_and_neighbours(opened, segmenter):
    assert segmenter.new == ("zebra", "van")
    assert segmenter.names == (*opened.split.names, "zebra", "van")
    own = opened.heads["ours"].classifier
    assert torch.equal(segmenter.classifier.weight[:21], own.weight)
    table = segmenter.neighbours(5)
    assert table["new class"].tolist() == ["zebra", "van"]
    assert "horse" in table["nearest known classes (cosine)"][0]  # the toy world's own words


def test_a_prediction_is_that_of_the_evaluation_with_its_confidence(opened, segmenter):
    image, _ = opened.open_data("val").load(0)
    found = segmenter.predict(image)
    with_new = replace(opened, heads={"new": SimpleNamespace(classifier=segmenter.classifier)})
    labels = with_new.predict(image)["new"]
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.image, np.asarray(image))
    assert found.labels.shape == found.confidence.shape == image.size[::-1]
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.probabilities.max(0), found.confidence)
    np.testing.assert_array_equal(found.of("van"), found.probabilities[22])


def test_the_summary_and_the_pictures_of_a_prediction(segmenter):
    image, truth = strangers.picture(["zebra"], segmenter.names, 0, short_side=64)
    found = segmenter.predict(image)
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
    row = found.pictures(truth)
    assert list(row) == ["Picture", "Predicted", "Ground truth", "Confidence"]
    fig = plots.qualitative([row], found.names, segmenter.new, list(row), star="new class")
    assert "★ zebra" in [text.get_text() for text in fig.legends[0].get_texts()]


def test_pictures_of_many_kinds(tmp_path):
    Image.new("L", (70, 50), 90).save(tmp_path / "grey.png")
    grey = open_picture(str(tmp_path / "grey.png"))
    assert grey.size == (70, 50) and grey.mode == "RGB"
    large = Image.new("RGBA", (3 * LONGEST, LONGEST))
    assert open_picture(large).size == (LONGEST, round(LONGEST / 3))
    assert large.size == (3 * LONGEST, LONGEST)  # as it was
    turned = Image.new("RGB", (60, 40))
    turned.getexif()[0x0112] = 6  # a phone held upright
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    assert open_picture(tmp_path / "turned.jpg").size == (40, 60)
    (tmp_path / "no.jpg").write_text("not a picture")
    assert "no.jpg" in one_line(lambda: open_picture(tmp_path / "no.jpg"))
    assert "nowhere.jpg" in one_line(lambda: open_picture("nowhere.jpg"))
    assert "float64" in one_line(lambda: open_picture(np.zeros((4, 4, 3))))


def test_a_large_photograph_is_read_at_a_fraction_and_a_huge_one_told(tmp_path, monkeypatch):
    Image.new("RGB", (8 * LONGEST, 4 * LONGEST)).save(tmp_path / "photo.jpg")
    decoded = []
    load = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda x, m: decoded.append(x.size) or load(x, m))
    assert open_picture(tmp_path / "photo.jpg").size == (LONGEST, LONGEST // 2)
    assert decoded == [(2 * LONGEST, LONGEST)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    message = one_line(lambda: open_picture(tmp_path / "photo.jpg"))
    assert "photo.jpg is too large" in message and "33554432" in message and "2000" in message


@pytest.mark.parametrize(
    "words, given, parts",
    [
        ("zebre", {}, ["'zebre'", "zebra", "new words of the toy world"]),
        (["school bus"], {}, ["'school' is unknown", "nearest in meaning to bus: "]),
        ("zebra, cow", {}, ["'cow' is a class"]),
        ("zebra", {"weight": 0}, ["weight is 0"]),
        (" , ", {}, ["no class name"]),
        ("zebra", {"method": "nobody"}, ["nobody"]),
    ],
)
def test_words_that_cannot_be_added(opened, words, given, parts):
    message = one_line(lambda: add_classes(opened, words, **given))
    assert all(part in message for part in parts), message


def test_words_of_several_words_and_other_cases_are_found(opened):
    segmenter = add_classes(opened, ["striped horse", "Zebra", "Zebra"])
    assert segmenter.new == ("striped horse", "Zebra")
    assert segmenter.substitutions == {"striped horse": "striped + horse", "Zebra": "zebra"}


def test_from_a_folder_it_is_the_same(opened, segmenter):
    again = add_classes(str(opened.folder / "metrics.json"), ("zebra", "van"))
    assert torch.equal(again.classifier.weight, segmenter.classifier.weight)
    assert again.run.name == "toy/voc-k10-s0" and open_run(again.run) is again.run
    assert toy_run(opened.folder) == opened.folder


def test_other_word_vectors_than_the_runs_are_refused(opened, world, tmp_path):
    head, *lines = (world / "wordvectors.txt").read_text().splitlines()
    words = [line.split(" ") for line in lines]
    rows = [" ".join([words[i][0], *words[i - 1][1:]]) for i in range(len(words))]
    (tmp_path / "w.txt").write_text("\n".join([head, *rows]) + "\n")
    other = open_run(opened.folder, word_vectors=str(tmp_path / "w.txt"))
    assert "not those that" in one_line(lambda: add_classes(other, "zebra"))


def test_a_run_that_is_not_there_is_told_how_to_make(tmp_path):
    folder = tmp_path / "lite" / "voc-k4-s1"
    message = one_line(lambda: add_classes(folder, "zebra"))
    assert "make runs/lite/voc-k4-s1/metrics.json PROFILE=lite K=4 SEED=1" in message
    assert "make runs/lite/voc-k4-s1" in one_line(lambda: toy_run(folder))
    assert "make runs/toy" in one_line(lambda: toy_run(tmp_path / "toy" / "somewhere"))


def test_a_missing_toy_run_is_trained_once(settings, tmp_path, monkeypatch, capsys):
    def tiny(**given):
        return settings(methods=("ours",), stage2_epochs=1, **given)

    monkeypatch.setattr(run, "Settings", SimpleNamespace(make=tiny))
    monkeypatch.setattr(run.storage, "CACHE", tmp_path / "cache")
    folder = toy_run(tmp_path / "toy" / "voc-k9-s3")
    assert "toy/voc-k9-s3 is not there yet" in capsys.readouterr().out
    monkeypatch.undo()
    made = open_run(folder)
    assert set(made.heads) == {"ours"} and made.settings.seed == 3
    monkeypatch.setattr(run, "Run", None)
    assert toy_run(folder) == toy_run(str(folder / "metrics.json")) == folder
    with pytest.raises(ZS3Error, match="run without ZS3Net"):
        open_run(folder, methods=["zs3net"])


def test_a_record_of_another_version_says_so(opened, tmp_path):
    shutil.copytree(opened.folder.parent, tmp_path / "toy")
    path = tmp_path / "toy" / "voc-k10-s0" / "metrics.json"
    record = json.loads(path.read_text())
    record["settings"]["old_setting"] = 1
    record = {key: value for key, value in record.items() if key not in ("schema", "checksum")}
    path.write_text(json.dumps(storage.sealed(record)))
    message = one_line(lambda: open_run(path.parent))
    assert "is of another version" in message and "old_setting" in message
    assert "make runs/toy/voc-k10-s0" in message


def test_the_trial_scores_what_is_predicted(opened):
    table = trial(opened, ["zebra"], count=2).loc["zebra"]
    segmenter = add_classes(opened, "zebra")
    confusion = np.zeros((22, 22), int)
    known = np.zeros((22, 22), int)
    for index in range(2):
        image, truth = strangers.picture(["zebra"], segmenter.names, index)
        inside = truth != 255
        own = opened.predict(Image.fromarray(image), ["ours"])["ours"]
        renamed = np.where(own == segmenter.names.index(table["nearest"]), 21, own)
        for matrix, found in ((confusion, segmenter.predict(image).labels), (known, renamed)):
            np.add.at(matrix, (truth[inside], found[inside]), 1)
    assert table["its word vector"] == pytest.approx(100 * class_iou(confusion)[21])
    assert table["renamed"] == pytest.approx(100 * class_iou(known)[21])
    assert table["taken for"] == segmenter.names[confusion[21].argmax()]
    assert 0 <= table["a random vector"] <= 100
