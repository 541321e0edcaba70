"""Systems beside the paper's tables: graph context, the projection baseline, self-training."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crafted import BIRD, BOAT, COW, DOG, VOID, WORDS, features_of, state, stripes, trainer
from torch import nn

from zs3lib import Settings, ZS3Error, add_classes, open_run, storage
from zs3lib.explore import figure3
from zs3lib.explore.new_classes import fit
from zs3lib.extras.graph_context import GraphGenerator, graph_of
from zs3lib.extras.projection import SCALE
from zs3lib.extras.self_training import pseudo_labels, whole_network
from zs3lib.method import methods, stage1
from zs3lib.method.generator import Head
from zs3lib.method.methods import METHODS
from zs3lib.results import beside, paper, tables


def test_extras_are_run_only_where_they_are_asked_for():
    extras = [name for name, method in METHODS.items() if method.extra]
    assert extras == ["graph_context", "projection"]
    for profile in ("toy", "lite", "paper"):
        for dataset in ("voc", "context"):
            s = Settings.make(profile=profile, dataset=dataset)
            assert not {*extras} & {*s.methods} and not s.self_training
            assert s.self_training_share == (25 if dataset == "voc" else 75)
            assert s.graph_loops == (profile == "toy" and dataset == "context")


# ---- graph context ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_connected_regions_and_edges_join_those_that_touch(seed):
    cells = np.random.default_rng(seed).choice([0, BIRD, VOID], (9, 7), p=[0.6, 0.2, 0.2])
    graph = graph_of(cells)
    nodes = graph.nodes.numpy().reshape(cells.shape)
    touching = np.zeros(graph.adjacency.shape, bool)
    joined = np.eye(cells.size, dtype=bool)  # cells of one label that touch
    places = list(np.ndindex(cells.shape))
    for a, p in enumerate(places):
        for b, q in enumerate(places):
            if max(abs(p[0] - q[0]), abs(p[1] - q[1])) == 1:
                joined[a, b] = cells[p] == cells[q]
                touching[nodes[p], nodes[q]] |= nodes[p] != nodes[q]
    reached = np.linalg.matrix_power(joined.astype(float), cells.size) > 0
    flat = nodes.ravel()
    assert np.array_equal(reached, flat[:, None] == flat)
    assert np.array_equal(graph.adjacency.numpy(), touching)
    assert torch.equal(graph.adjacency, graph.adjacency.T)
    assert not graph.adjacency.diagonal().any()
    for node, (label, first) in enumerate(zip(graph.labels.tolist(), graph.first.tolist())):
        assert first == np.flatnonzero(flat == node)[0] and cells.ravel()[first] == label


def test_loops_join_each_node_to_itself_and_normalise():
    plain = graph_of(np.array([[0, BIRD, DOG]])).adjacency
    assert plain.tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    found = graph_of(np.array([[0, BIRD, DOG]]), loops=True).adjacency
    degree = torch.tensor([2.0, 3.0, 2.0])
    torch.testing.assert_close(found, (plain + torch.eye(3)) / (degree.outer(degree)).sqrt())


def test_the_graph_generator_is_its_formula():
    torch.manual_seed(0)
    generator = GraphGenerator(word_dim=6, hidden=5, feature_dim=4).eval()
    w1, b1, w2, b2 = generator.parameters()
    assert (b1 == 0.01).all() and (b2 == 0.01).all()
    w1, b1, w2, b2 = generator.double().parameters()
    words, noise = torch.randn(2, 3, 6, dtype=torch.float64)
    adjacency = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)
    before = adjacency @ torch.cat([words, noise], 1) @ w1.T + b1
    hidden = torch.where(before > 0, before, 0.2 * before)
    expected = adjacency @ hidden @ w2.T + b2
    torch.testing.assert_close(generator(words, noise, adjacency), expected, rtol=0, atol=1e-12)
    generator.train()
    assert not torch.equal(generator(words, noise, adjacency), expected)  # dropout


@pytest.mark.parametrize(
    "labels, graphs",
    [
        ([stripes(BIRD, DOG), stripes(COW, DOG)], {"generator": 2, "graph": 1, "nodes": 1}),
        ([stripes(COW, DOG)], {"nodes": 1}),
        ([stripes(BIRD), stripes(VOID)], {"generator": 1}),  # one region is no graph
    ],
)
def test_the_graphs_generator_learns_from_seen_images_alone(labels, graphs, same):
    t = trainer("graph_context", loss_at="feature")
    before = state(t.graph_generator)
    losses = t.step(t.batch(features_of(torch.stack(labels)), torch.stack(labels)))
    assert {kind: len(values) for kind, values in losses.items()} == graphs | {"classifier": 1}
    assert same(before, state(t.graph_generator)) == ("graph" not in graphs)


@pytest.mark.parametrize("target", ["first", "mean"])
@pytest.mark.parametrize("reduction, divisor", [("mean", 1), ("zs3net", 2)])
def test_nodes_weigh_a_tenth_beside_the_pixels_and_void_is_no_target(
    target, reduction, divisor, monkeypatch
):
    """ZS3Net divides the pixels' loss by the batch once more, that of the nodes never."""
    labels = torch.stack([stripes(BIRD, VOID, DOG, BOAT), stripes(COW, VOID)])
    features = features_of(labels)
    choices = {"loss_at": "feature", "unseen_weight": 3.0, "classifier_loss": reduction}
    t = trainer("graph_context", graph_target=target, **choices)
    made = torch.full((8, 8, 16), 0.5)
    fitted = {}
    monkeypatch.setattr(t, "generate", lambda graph: made[0, : len(graph.labels)])
    monkeypatch.setattr(t, "fit_graph", lambda g, real: fitted.update(zip(g.labels.tolist(), real)))
    monkeypatch.setattr(t.head, "generate_map", lambda *_: made[None])
    before = copy.deepcopy(t.head.classifier)
    losses = t.step(t.batch(features, labels))

    def weighted(vectors, classes):
        weights = torch.tensor([3.0 if c == COW else 1.0 for c in range(21)])
        return F.cross_entropy(before(vectors), torch.tensor(classes), weights).detach()

    bands = features[0].unflatten(0, (4, 2)).flatten(1, 2)
    real = bands[:, 0] if target == "first" else bands.mean(1)
    torch.testing.assert_close(fitted, dict(zip((BIRD, VOID, DOG, BOAT), real)))
    nodes = weighted(torch.cat([real[[0, 2, 3]], made[0, :1]]), [BIRD, DOG, BOAT, COW])
    torch.testing.assert_close(losses["nodes"][0], nodes)
    both = torch.stack([features[0], made]).flatten(0, 2)
    cells = labels[:, 2::4, 2::4].flatten().long()
    pixels = weighted(both[cells != VOID], cells[cells != VOID].tolist())
    torch.testing.assert_close(losses["classifier"][0], pixels / divisor + 0.1 * nodes)


# ---- projection ---------------------------------------------------------------------------------


def world_of(labels: torch.Tensor, features: int = 16) -> torch.Tensor:
    """Features that are the unit words of their cells, seen through a matrix, and noise."""
    random = torch.Generator().manual_seed(9)
    units = nn.functional.normalize(WORDS)
    through = torch.randn(300, features, generator=random)
    cells = labels[:, 2::4, 2::4].long()
    noise = torch.randn(*cells.shape, features, generator=random)
    return units[cells.where(cells != VOID, 0)] @ through + 0.3 * noise


def test_projection_is_the_least_squares_fit_of_unit_words_on_seen_images():
    labels = torch.stack([stripes(BIRD, DOG), stripes(0, BOAT), stripes(COW, DOG), stripes(VOID)])
    features = world_of(labels)
    features[2] = 1e3  # an unseen class is in it: it may not count
    t = trainer("projection", unseen_weight=1.0)
    for part in (slice(0, 2), slice(2, 4)):
        t.step(t.batch(features[part], labels[part]))
    x = torch.cat([features[:2].flatten(0, 2), torch.ones(128, 1)], 1).double()
    cells = labels[:2, 2::4, 2::4].flatten().long()
    y = nn.functional.normalize(WORDS)[cells].double()
    least = x @ torch.linalg.lstsq(x, y).solution - y
    found = x @ t.head.projection.double() / SCALE - y
    assert found.square().sum() < 1.01 * least.square().sum()  # 1 % for the ridge
    some = torch.randn(50, 16)
    projected = torch.cat([some, torch.ones(50, 1)], 1) @ t.head.projection
    cosines = nn.functional.cosine_similarity(projected[:, None], WORDS, dim=2)
    assert torch.equal(t.head.classifier(some).argmax(1), cosines.argmax(1))
    # Self-training starts from the softmax: that of cosines themselves is flat, about 1 / C.
    confidence = t.head.classifier(features[:2]).flatten(0, 2).softmax(1)
    assert confidence[range(128), cells].mean() > 0.5


# ---- self-training ------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 10, 25, 100])
def test_the_share_kept_is_that_of_the_most_confident(share):
    torch.manual_seed(0)
    logits = 3 * torch.randn(5, 20, 30)
    confidence, predicted = logits.softmax(0).max(0)
    kept = pseudo_labels(logits, (1, 3), share=share)
    assert kept.dtype == torch.uint8 and kept.shape == (20, 30)
    assert {*kept.unique().tolist()} <= {1, 3, VOID}
    for c in (1, 3):
        own = predicted == c
        chosen = kept == c
        assert chosen.sum() == round(share / 100 * int(own.sum())) and not (chosen & ~own).any()
        if 0 < share < 100:
            assert confidence[chosen].min() >= confidence[own & ~chosen].max()
    both = pseudo_labels(logits, (1, 3), share=share, keep_seen=True)
    unseen = (predicted == 1) | (predicted == 3)
    assert torch.equal(both[unseen], kept[unseen])
    assert torch.equal(both[~unseen], predicted[~unseen].byte())


SELF_TRAINED = {"methods": "zs3net", "self_training": True}


@pytest.mark.parametrize("dataset", ["voc", "context"])
def test_it_learns_true_labels_of_seen_images_and_predicted_ones_elsewhere(
    opened, monkeypatch, dataset
):
    """No true label of an image with an unseen class reaches the loss."""
    run = opened(dataset=dataset, self_training_share=50, frozen_blocks=0, **SELF_TRAINED)
    run.train_backbone()
    logits = torch.zeros(len(run.split.names), 1, 1)
    logits[COW] = 9.0
    labels = {}
    usual = stage1.train

    def all_cows(network, classifiers, image, size, settings):
        for name in classifiers:
            yield name, logits.expand(-1, *size)

    def look(network, source, *arguments, **options):
        labels.update({source.data.ids[i]: source.data.load_mask(i) for i in source.indices})
        return usual(network, source, *arguments, **options)

    monkeypatch.setattr("zs3lib.extras.self_training.pixel_logits", all_cows)
    monkeypatch.setattr(stage1, "train", look)
    run.train_heads()
    assert list(labels) == run.train.ids
    for i, found in enumerate(labels.values()):
        if i in run.seen_images:
            assert np.array_equal(found, run.train.load_mask(i))
        else:
            assert {*np.unique(found)} == {COW, VOID}
            assert (found == COW).sum() == round(0.5 * found.size)
    trained = run.self_trained["zs3net+self_training"].state_dict()
    frozen = run.model.state_dict().items()
    changed = {name.split(".")[0] for name, value in frozen if (value != trained[name]).any()}
    assert changed == {"aspp", "decoder", "classifier", "backbone"}


def test_it_starts_from_the_frozen_network_and_the_methods_classifier(opened):
    run = opened()
    head = Head(words=torch.from_numpy(run.words), feature_dim=run.settings.feature_dim)
    network = whole_network(run.model, head.classifier, run.settings).eval()
    images = torch.randn(1, 3, 32, 32)
    features = run.model.eval().features(images)
    torch.testing.assert_close(network.features(images), features)
    expected = head.classifier(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(network.classifier(features), expected)
    assert all(p.requires_grad for p in network.parameters())


def test_a_self_trained_row_is_called_transductive_and_stands_in_the_record(opened):
    run = opened(**SELF_TRAINED)
    run.train_backbone()
    run.train_heads()
    with torch.no_grad():  # as if it had learned to call everything a cow
        run.self_trained["zs3net+self_training"].classifier.bias[COW] = 1e3
    taught = run.predict(run.val.load(0)[0], ["zs3net+self_training"])
    assert (taught["zs3net+self_training"] == COW).all()
    run.evaluate()
    record = json.loads(run.save().read_text())
    assert list(record["methods"]) == ["zs3net", "zs3net+self_training"]
    row = record["methods"]["zs3net+self_training"]
    assert row["title"] == "ZS3Net + self-training (extra, transductive)"
    confusion = np.array(row["confusion"])
    assert confusion.sum() == confusion[:, COW].sum() > 0
    others = np.array(record["methods"]["zs3net"]["confusion"])
    assert others[:, COW].sum() < others.sum()
    assert len(record["history"]["zs3net+self_training"]["loss"]) == 1
    assert not list((run.cache_root).glob("*/zs3net/*.png"))  # the predicted label maps are gone
    left = run.folder / "zs3net+self_training.pt"
    storage.save(left, {"model": run.self_trained["zs3net+self_training"].state_dict()})
    again = open_run(run.folder, methods=["zs3net"])
    assert list(again.heads) == ["zs3net"]
    rows, _ = figure3.examples(run.folder, count=1, models="zs3net, zs3net+self_training")
    assert list(rows[0])[3:] == ["ZS3Net", "ZS3Net + self-training (extra, transductive)"]
    assert (rows[0]["ZS3Net"] != COW).any()
    assert (rows[0]["ZS3Net + self-training (extra, transductive)"] == COW).all()
    with pytest.raises(ZS3Error, match=r"was run without Ours \+ self-training"):
        again.predict(run.val.load(0)[0], ["ours+self_training"])


# ---- Table IV -----------------------------------------------------------------------------------

ROWS = {"zs3net": 21.0, "ours": 22.0, "graph_context": 23.0, "zs3net+self_training": 24.0}


def record(dataset="context", k=2, seed=0, rows=ROWS, protocol="paper") -> dict:
    def result(name, value):
        metrics = dict.fromkeys(paper.METRICS, value + seed)
        return {"title": methods.title(name), "metrics": metrics}

    results = {name: result(name, value) for name, value in rows.items()}
    row = {"dataset": dataset, "k": k, "seed": seed, "protocol": protocol, "profile": "toy"}
    return row | {"methods": results}


def test_table_iv_has_extras_beside_zs3net_and_ours_and_says_what_each_may_see(tmp_path):
    plain = record("voc", 10, rows={"zs3net": 1.0, "ours": 2.0})
    files = beside.write_extras([plain, record(), record(seed=1)], tmp_path, "toy")
    names = [file.name for file in files]
    assert names == ["extras.md", "extras.csv", "extras.tex", "extras.txt"]
    lines = [line for line in files[0].read_text().splitlines() if "Pascal-Context | 2" in line]
    cells = [[cell.strip() for cell in line.split("|")[3:-1]] for line in lines]
    assert [row[0] for row in cells] == [methods.title(name) for name in ROWS]
    assert [row[3] for row in cells] == [  # unseen mIoU
        "21.5 ± 0.7 (21.6)",
        "22.5 ± 0.7 (21.2)",
        "23.5 ± 0.7 (30.0)",
        "24.5 ± 0.7 (55.5)",
    ]
    printed = ["this paper", "this paper", "ZS3Net's paper", "ZS3Net's paper"]
    assert [row[-1] for row in cells] == printed
    assert ["transductive" in row[1] for row in cells] == [False, False, False, True]
    assert beside.may_see("projection", "paper") == "those without unseen classes"
    assert beside.may_see("zs3net", "strict").startswith("those without unseen classes")
    assert all(row[1].startswith("all; those with unseen classes") for row in cells)
    for file in files:
        assert "Pascal-VOC" not in file.read_text().replace("Real VOC", "")
        assert file.suffix == ".csv" or "extra" in file.read_text()


def test_extras_stand_in_no_other_table_and_are_never_the_best(tmp_path):
    runs = [record(), record("voc", 2, rows=ROWS | {"projection": 99.0})]
    for which in ("I", "II"):
        assert list(paper.models(which, runs)) == ["zs3net", "ours"]
    assert set(paper.hiou_frame(runs)["model"]) == {"ZS3Net", "Ours"}
    shown = tables.rows(runs[1]["methods"])
    assert "Projection (extra)" in shown.to_string()
    style = shown.to_html().partition("</style>")[0]
    assert {*re.findall(r"row(\d+)_col", style)} == {"1"}  # Ours is in bold
    assert beside.write_extras([record(rows={"ours": 1.0})], tmp_path, "toy") == []


# ---- new classes by projection ------------------------------------------------------------------


def test_projection_takes_a_new_class_without_any_fitting(opened):
    """As if the class had been known in training: there, too, no image shows it."""
    run = opened(methods="projection")
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save()
    head = open_run(run.folder, methods=["projection"]).heads["projection"]
    whole = head.classifier
    assert torch.equal(head.projection, run.heads["projection"].projection)
    others = [c for c in range(21) if c != COW]
    cow = 3 * head.words[COW]  # the length says nothing
    head.words = head.words[others]
    head.classifier = nn.Linear(head.projection.shape[0] - 1, 20)
    head.classifier.load_state_dict({"weight": whole.weight[others], "bias": whole.bias[others]})
    classifier, losses = fit(head, cow[None], weight=1.0)
    torch.testing.assert_close(classifier.weight, whole.weight[[*others, COW]])
    torch.testing.assert_close(classifier.bias, whole.bias[[*others, COW]])
    assert losses == [] and not classifier.weight.requires_grad
    picture = run.val.load(0)[0]
    found = add_classes(run.folder, "zebra", method="projection").predict(picture)
    assert found.names[-1] == "zebra" and found.labels.shape == picture.size[::-1]
