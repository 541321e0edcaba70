"""Classes added by their names: what the fit may change, what a prediction says, and what is refused."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import zs3lib
from zs3lib import ZS3Error, finished, metrics
from zs3lib.evaluate import predict
from zs3lib.finished import open_run, toy_run
from zs3lib.new_classes import LONGEST, fit, open_picture
from zs3lib.plots import new_class as plots
from zs3lib.seal import sealed
from zs3lib.stage2 import Head
from zs3lib.toy import strangers
from zs3lib.toy.attributes import TABLE


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run = zs3lib.Run(settings(methods=("ours",), k=10), runs_root=folder, cache_root=folder / "cache")
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save()
    return run


@pytest.fixture(scope="module")
def segmenter(run):
    return zs3lib.add_classes(run, "zebra, van")


def one_line(call) -> str:
    with pytest.raises(ZS3Error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_new_rows_tell_new_words_from_known_ones_and_known_rows_stay():
    torch.manual_seed(0)
    words = torch.nn.functional.normalize(torch.randn(8, 300)) * 300**0.5
    head = Head(words=words[:5])
    with torch.no_grad():  # a generator without noise: one feature per word, up to dropout
        head.generator.noise_weight.zero_()
        known = head.eval().generator(words[:5], torch.arange(5), torch.zeros(5, 300))
        head.classifier.weight.copy_(known / known.norm(dim=1, keepdim=True))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.random.get_rng_state()
    classifier, losses = fit(head, words[5:], weight=1.0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert torch.equal(classifier.weight[:5], head.classifier.weight) and classifier.weight.shape == (8, 256)
    assert torch.equal(classifier.bias[:5], head.classifier.bias)
    assert losses[-1] < 0.7 * losses[0]
    head.eval()
    with torch.no_grad():
        features = head.generator(words, torch.arange(8), torch.zeros(8, 300))
        found = classifier(features).argmax(1)
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
            shares.append((classifier(head.generate_class(1, 400)).argmax(1) == 2).float().mean().item())
    assert shares[0] < 0.2 and shares[0] < shares[1] < shares[2] and shares[2] > 0.8


def test_names_and_rows(run, segmenter):
    assert segmenter.new == ("zebra", "van") and segmenter.names == run.split.names + ("zebra", "van")
    own = run.heads["ours"].classifier
    assert torch.equal(segmenter.classifier.weight[:21], own.weight) and segmenter.classifier.bias.shape == (23,)
    table = segmenter.neighbours(2)
    assert table["new class"].tolist() == ["zebra", "van"]
    assert "horse" in segmenter.neighbours(5)["nearest known classes (cosine)"][0]  # the toy world's own words


def test_a_prediction_is_that_of_the_evaluation_with_its_confidence(run, segmenter):
    image, _ = run.val.load(0)
    found = segmenter.predict(image)
    labels = predict(run.model, {"all": segmenter.classifier}, image, run.settings)["all"]
    np.testing.assert_array_equal(found.labels, labels.numpy())
    np.testing.assert_array_equal(found.image, np.asarray(image))
    assert found.labels.shape == found.confidence.shape == image.size[::-1]
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.probabilities.max(0), found.confidence)
    np.testing.assert_array_equal(found.of("van"), found.probabilities[22])


def test_the_summary_of_a_prediction(segmenter):
    image, truth = strangers.picture(["zebra"], segmenter.names, 0, short_side=64)
    found = segmenter.predict(image)
    table = found.summary(truth)
    assert "zebra" in table.index and table["pixels"].sum() == pytest.approx(100)
    for name, row in table.iterrows():
        label, known = segmenter.names.index(name), truth != 255
        hit = ((found.labels == label) & (truth == label)).sum()
        union = (((found.labels == label) | (truth == label)) & known).sum()
        assert row["IoU"] == pytest.approx(100 * hit / union if union else 0)
        if row["pixels"]:
            assert row["mean confidence"] == pytest.approx(
                100 * found.confidence[found.labels == label].mean(), rel=1e-4
            )
    assert found.summary()["IoU"].isna().all()


def test_pictures_of_many_kinds(segmenter, tmp_path):
    grey = tmp_path / "grey.png"
    Image.new("L", (70, 50), 90).save(grey)
    assert segmenter.predict(grey).labels.shape == (50, 70)
    assert segmenter.predict(str(grey)).image.shape == (50, 70, 3)
    large = open_picture(Image.new("RGBA", (3 * LONGEST, LONGEST)))
    assert large.size == (LONGEST, round(LONGEST / 3)) and large.mode == "RGB"
    turned = Image.new("RGB", (60, 40))
    turned.getexif()[0x0112] = 6  # a phone held upright
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    assert open_picture(tmp_path / "turned.jpg").size == (40, 60)
    (tmp_path / "no.jpg").write_text("not a picture")
    assert "no.jpg" in one_line(lambda: segmenter.predict(tmp_path / "no.jpg"))
    assert "nowhere.jpg" in one_line(lambda: segmenter.predict("nowhere.jpg"))
    assert "float64" in one_line(lambda: segmenter.predict(np.zeros((4, 4, 3))))


def test_words_that_cannot_be_added(run):
    message = one_line(lambda: zs3lib.add_classes(run, "zebre"))
    assert "'zebre'" in message and "zebra" in message and "new words of the toy world" in message
    message = one_line(lambda: zs3lib.add_classes(run, ["school bus"]))
    assert "'school' is unknown" in message and "nearest in meaning to bus: " in message
    assert "'cow' is a class" in one_line(lambda: zs3lib.add_classes(run, "zebra, cow"))
    assert "weight is 0" in one_line(lambda: zs3lib.add_classes(run, "zebra", weight=0))
    assert "no class name" in one_line(lambda: zs3lib.add_classes(run, " , "))
    assert "Equal Weight" in one_line(lambda: zs3lib.add_classes(run, "zebra", method="equal_weight"))


def test_words_of_several_words_and_other_cases_are_found(run):
    segmenter = zs3lib.add_classes(run, ["striped horse", "Zebra", "Zebra"])
    assert segmenter.new == ("striped horse", "Zebra")
    assert segmenter.substitutions == {"striped horse": "striped + horse", "Zebra": "zebra"}


def test_from_a_folder_it_is_the_same(run, segmenter):
    again = zs3lib.add_classes(str(run.folder / "metrics.json"), ("zebra", "van"))
    assert torch.equal(again.classifier.weight, segmenter.classifier.weight)
    assert open_run(run.folder).name == again.run.name == "toy/voc-k10-s0" and open_run(again.run) is again.run
    assert toy_run(run.folder) == run.folder


def test_other_word_vectors_than_the_runs_are_refused(run, world, tmp_path):
    lines = (world / "wordvectors.txt").read_text().splitlines()
    words = [line.split(" ") for line in lines[1:]]
    rows = [" ".join([words[i][0], *words[i - 1][1:]]) for i in range(len(words))]
    (tmp_path / "w.txt").write_text("\n".join([lines[0], *rows]) + "\n")
    opened = open_run(run.folder, word_vectors=str(tmp_path / "w.txt"))
    assert "not those that" in one_line(lambda: zs3lib.add_classes(opened, "zebra"))


def test_a_run_that_is_not_there_is_told_how_to_make(tmp_path):
    message = one_line(lambda: zs3lib.add_classes(tmp_path / "lite" / "voc-k4-s1", "zebra"))
    assert "make runs/lite/voc-k4-s1/metrics.json PROFILE=lite K=4 SEED=1" in message
    assert "make runs/lite/voc-k4-s1" in one_line(lambda: toy_run(tmp_path / "lite" / "voc-k4-s1"))
    assert "make runs/toy" in one_line(lambda: toy_run(tmp_path / "toy" / "somewhere"))


def test_a_missing_toy_run_is_trained_and_a_finished_one_is_not_trained_again(settings, tmp_path, monkeypatch, capsys):
    def tiny(profile, dataset, k, seed):
        return settings(profile=profile, dataset=dataset, k=k, seed=seed, methods=("ours",), stage2_epochs=1)

    monkeypatch.setattr(finished, "Settings", SimpleNamespace(make=tiny))
    monkeypatch.setattr(finished.paths, "CACHE", tmp_path / "cache")
    folder = toy_run(tmp_path / "toy" / "voc-k9-s3")
    assert "toy/voc-k9-s3 is not there yet" in capsys.readouterr().out
    monkeypatch.undo()
    assert set(open_run(folder).heads) == {"ours"} and open_run(folder).settings.seed == 3
    monkeypatch.setattr(finished, "Run", None)
    assert toy_run(folder) == folder
    assert toy_run(str(folder / "metrics.json")) == folder


def test_a_record_of_another_version_says_so(run, tmp_path):
    shutil.copytree(run.folder.parent, tmp_path / "toy")
    path = tmp_path / "toy" / "voc-k10-s0" / "metrics.json"
    record = json.loads(path.read_text())
    record["settings"]["old_setting"] = 1
    path.write_text(json.dumps(sealed({k: v for k, v in record.items() if k not in ("schema", "checksum")})))
    message = one_line(lambda: open_run(path.parent))
    assert "is of another version" in message and "old_setting" in message and "make runs/toy/voc-k10-s0" in message


def test_pictures_of_strangers_show_them_and_are_repeatable():
    names = (*zs3lib.split("voc", 2).names, *strangers.WORDS)
    for word in strangers.WORDS:
        image, labels = strangers.picture([word], names, 1, short_side=80)
        assert (labels == names.index(word)).mean() > 0.01, word
        assert set(np.unique(labels)) <= {255, *range(21), names.index(word)}
        again, _ = strangers.picture([word], names, 1, short_side=80)
        np.testing.assert_array_equal(image, again)
    both, labels = strangers.picture(["zebra", "van"], names, 0, short_side=80)
    assert {names.index("zebra"), names.index("van")} <= set(np.unique(labels))
    assert "'unicorn'" in one_line(lambda: strangers.picture(["unicorn"], names, 0))
    assert "-p image" in one_line(lambda: strangers.picture([], names, 0))
    assert strangers.kin("zebra") == "horse" and strangers.drawable(["zebra", "cow", "unicorn"]) == ["zebra"]
    assert set(strangers.WORDS) <= set(TABLE)


def test_the_trial_scores_what_is_predicted(run):
    table = strangers.trial(open_run(run), ["zebra"], count=2)
    segmenter = zs3lib.add_classes(run, "zebra")
    confusion, known = np.zeros((22, 22), int), np.zeros((22, 22), int)
    for index in range(2):
        image, truth = strangers.picture(["zebra"], segmenter.names, index)
        found = segmenter.predict(image).labels
        own = predict(run.model, {"": run.heads["ours"].classifier}, Image.fromarray(image), run.settings)[""].numpy()
        renamed = np.where(own == segmenter.names.index(table.loc["zebra", "nearest"]), 21, own)
        for matrix, labels in ((confusion, found), (known, renamed)):
            matrix += metrics.confusion_matrix(torch.from_numpy(truth), torch.from_numpy(labels.copy()), 22).numpy()
    assert table.loc["zebra", "its word vector"] == pytest.approx(100 * metrics.class_iou(confusion)[21])
    assert table.loc["zebra", "renamed"] == pytest.approx(100 * metrics.class_iou(known)[21])
    assert table.loc["zebra", "taken for"] == segmenter.names[confusion[21].argmax()]


def test_figures(segmenter):
    image, truth = strangers.picture(["zebra", "van"], segmenter.names, 0, short_side=64)
    found = segmenter.predict(image)
    shown = plots.segmentation(found, segmenter.new, truth)
    titles = [ax.get_title() for ax in shown.axes if ax.get_title()]
    assert titles == ["Picture", "Predicted", "Ground truth", "Confidence of the predicted class"]
    legend = [text.get_text() for text in shown.legends[0].get_texts()]
    assert {"★ zebra", "★ van"} <= set(legend)
    assert len(plots.segmentation(found, segmenter.new).axes) == 4  # without a truth: three panels and the scale
    assert [ax.get_title().split(":")[0] for ax in plots.class_confidence(found, segmenter.new).axes][:2] == [
        "zebra",
        "van",
    ]
