"""Word vectors: spellings tried, lengths, and files that are not what they should be."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest

from zs3lib import wordfile
from zs3lib.classes import CLASSES
from zs3lib.errors import ZS3Error
from zs3lib.words import load_word_vectors


def write(path, rows: dict[str, list[float]], header: str | None = None):
    dim = len(next(iter(rows.values())))
    lines = [header or f"{len(rows)} {dim}"] + [f"{word} {' '.join(map(str, row))}" for word, row in rows.items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def fails(source, names=("cow",), dim=3, **options) -> str:
    with pytest.raises(ZS3Error) as caught:
        load_word_vectors(source, names, dim=dim, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_substitutions_are_made_in_order_and_reported(tmp_path):
    rows = {"cow": [1, 0, 0], "airplane": [0, 2, 0], "potted": [0, 0, 2], "plant": [0, 4, 0], "tv": [3, 0, 0], "monitor": [0, 9, 0],
            "table": [5, 5, 5]}  # fmt: skip
    source = write(tmp_path / "w.txt", rows)
    names = ("cow", "aeroplane", "pottedplant", "tvmonitor", "diningtable")
    vectors, made = load_word_vectors(source, names, dim=3, norm="none")
    assert made == {"aeroplane": "airplane", "pottedplant": "potted + plant", "tvmonitor": "tv", "diningtable": "table"}
    np.testing.assert_array_equal(vectors, [[1, 0, 0], [0, 2, 0], [0, 2, 1], [3, 0, 0], [5, 5, 5]])
    assert vectors.dtype == np.float32


def test_the_classs_own_name_comes_first(tmp_path):
    source = write(tmp_path / "w.txt", {"airplane": [1, 1], "aeroplane": [2, 3]})
    vectors, made = load_word_vectors(source, ("aeroplane",), dim=2, norm="none")
    assert vectors.tolist() == [[2, 3]] and made == {}


def test_norms(tmp_path):
    source = write(tmp_path / "w.txt", {"cow": [3, 4, 0, 0], "cat": [0, 0, 0, 0.5]})
    lengths = {}
    for norm in ("none", "unit", "noise"):
        vectors, _ = load_word_vectors(source, ("cow", "cat"), dim=4, norm=norm)
        lengths[norm] = np.linalg.norm(vectors, axis=1).tolist()
        np.testing.assert_allclose(vectors[0] / lengths[norm][0], [0.6, 0.8, 0, 0], rtol=1e-6)
    assert lengths == {"none": [5, 0.5], "unit": pytest.approx([1, 1]), "noise": pytest.approx([2, 2])}


def test_every_class_of_the_toy_world_has_a_vector(world):
    for names in CLASSES.values():
        vectors, made = load_word_vectors(str(world / "wordvectors.txt"), names)
        assert vectors.shape == (len(names), 300) and made == {}
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_text_gzip_and_binary_are_the_same_and_a_pickle_is_refused(tmp_path):
    from gensim.models import KeyedVectors

    source = write(tmp_path / "w.txt", {"cow": [1, 2, 3], "cat": [4, 5, 6]})
    (tmp_path / "w.txt.gz").write_bytes(gzip.compress((tmp_path / "w.txt").read_bytes()))
    vectors = KeyedVectors.load_word2vec_format(source)
    vectors.save_word2vec_format(str(tmp_path / "w.bin"), binary=True)
    vectors.save(str(tmp_path / "w.kv"))
    assert "run code" in fails(str(tmp_path / "w.kv"))
    packed = gzip.compress((tmp_path / "w.bin").read_bytes())
    for name in ("w.bin.gz", "google.gz"):  # gensim's downloader names its binary file <model>.gz
        (tmp_path / name).write_bytes(packed)
    for name in ("w.txt", "w.txt.gz", "w.bin", "w.bin.gz", "google.gz"):
        assert wordfile.is_binary(tmp_path / name) == (not name.startswith("w.txt"))
        found, _ = load_word_vectors(str(tmp_path / name), ("cat", "cow"), dim=3, norm="none")
        assert found.tolist() == [[4, 5, 6], [1, 2, 3]], name


def test_a_missing_word_offers_near_spellings(tmp_path):
    source = write(tmp_path / "w.txt", {"hose": [1, 2, 3], "house": [1, 2, 3], "sky": [1, 2, 3]})
    message = fails(source, ("horse",))
    assert (
        "'horse'" in message and "house" in message and "hose" in message and "sky" not in message and source in message
    )
    assert fails(source, ("xylophone",)).endswith("no vector for 'xylophone'")


def test_a_wrong_dimension(tmp_path):
    source = write(tmp_path / "w.txt", {"cow": [1, 2, 3]})
    message = fails(source, dim=300)
    assert source in message and "3 dimensions" in message and "300" in message


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_values_that_are_not_finite(tmp_path, value):
    source = write(tmp_path / "w.txt", {"cow": [1, value, 3], "cat": [1, 2, 3]})
    message = fails(source, ("cat", "cow"))
    assert source in message and "cow" in message and "for cow" in message
    assert load_word_vectors(source, ("cat",), dim=3)[0].shape == (1, 3)  # only the classes asked for matter


@pytest.mark.parametrize("header", ["cow 1 2 3", "hello world", "1", "9 3", "1 5", "one 3"])
def test_a_wrong_header(tmp_path, header):
    assert "w.txt" in fails(write(tmp_path / "w.txt", {"cow": [1, 2, 3]}, header))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01" * 50, b"1 3\ncow 1 2\n", b"1 3\ncow 1 two 3\n"])
def test_a_file_of_something_else(tmp_path, content):
    (tmp_path / "w.txt").write_bytes(content)
    assert "w.txt" in fails(str(tmp_path / "w.txt"))


def test_a_missing_file_and_a_folder(tmp_path):
    for source in (tmp_path / "no" / "vectors.txt", tmp_path):
        assert str(source) in fails(str(source)) and "-p word_vectors" in fails(str(source))


def test_only_the_most_frequent_words_are_read(tmp_path):
    source = write(tmp_path / "w.txt", {"cow": [1, 2, 3], "cat": [4, 5, 6]})
    assert "'cat'" in fails(source, ("cat",), limit=1)


# ---- large files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """A binary file as large as the limit for being read whole, the words that matter spread over it."""
    path, count = tmp_path_factory.mktemp("words") / "google.bin", 50_000
    table = np.random.default_rng(0).standard_normal((count, 300)).astype(np.float32)
    words = [f"w{i}" for i in range(count)]
    for place, word in ((7, "cow"), (3_000, "airplane"), (20_000, "tv"), (40_000, "potted"), (count - 1, "plant")):
        words[place] = word
    with open(path, "wb") as file:
        file.write(f"{count} 300\n".encode())
        for word, row in zip(words, table):
            file.write(word.encode() + b" " + row.tobytes())
    return path, dict(zip(words, table))


def test_of_a_large_file_only_the_needed_words_are_kept_in_memory(google, tmp_path):
    path, table = google
    assert path.stat().st_size > wordfile.LARGE
    names = ("cow", "aeroplane", "tvmonitor", "pottedplant")
    tracemalloc.start()
    vectors, made = load_word_vectors(str(path), names, norm="none", cache=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * path.stat().st_size
    assert made == {"aeroplane": "airplane", "tvmonitor": "tv", "pottedplant": "potted + plant"}
    expected = [table["cow"], table["airplane"], table["tv"], (table["potted"] + table["plant"]) / 2]
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


def test_a_large_file_is_read_once_for_all_classes(google, tmp_path, monkeypatch):
    path, table = google
    load_word_vectors(str(path), ("cow",), cache=tmp_path)
    monkeypatch.setattr(wordfile, "records", None)
    vectors, _ = load_word_vectors(str(path), ("aeroplane", "pottedplant"), norm="none", cache=tmp_path)
    np.testing.assert_array_equal(vectors[0], table["airplane"])
    (small,) = (tmp_path / "words").iterdir()
    assert small.stat().st_size < 10_000


@pytest.mark.parametrize("kind", ["txt", "txt.gz", "bin", "bin.gz"])
def test_an_excerpt_has_the_same_vectors_as_the_whole(tmp_path, kind, monkeypatch):
    from gensim.models import KeyedVectors

    rows = {"a": [1, 2, 3], "cow": [0.1, 1e-30, -3], "\u00e9t\u00e9": [5, 6, 7], "cat": [4, 5, 6.5], "dog": [1, 1, 10]}
    vectors = KeyedVectors.load_word2vec_format(write(tmp_path / "whole.txt", rows))
    vectors.save_word2vec_format(str(tmp_path / f"w.{kind}"), binary=kind.startswith("bin"))
    expected, _ = load_word_vectors(str(tmp_path / f"w.{kind}"), ("dog", "cow", "cat"), dim=3, norm="none")
    monkeypatch.setattr(wordfile, "LARGE", 0)
    monkeypatch.setattr(wordfile, "BLOCK", 5)  # a record lies across many blocks
    found, _ = load_word_vectors(str(tmp_path / f"w.{kind}"), ("dog", "cow", "cat"), dim=3, norm="none", cache=tmp_path)
    np.testing.assert_array_equal(found, expected)
    assert "cat" in fails(str(tmp_path / f"w.{kind}"), ("car",), cache=tmp_path)
    assert "'dog'" in fails(str(tmp_path / f"w.{kind}"), ("dog",), limit=4, cache=tmp_path)


@pytest.mark.parametrize("cut", [3, 200, 60_000_000 - 5_000])
def test_a_large_file_that_ends_early_is_refused_and_leaves_no_excerpt(google, tmp_path, cut, monkeypatch):
    monkeypatch.setattr(wordfile, "LARGE", 0)
    (tmp_path / "half.bin").write_bytes(google[0].read_bytes()[:cut])
    assert "half.bin" in fails(str(tmp_path / "half.bin"), dim=300, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*"))


def test_names_of_several_words_and_in_capitals(tmp_path):
    source = write(tmp_path / "w.txt", {"school_bus": [1, 2], "fire": [2, 0], "truck": [0, 4], "beachball": [3, 3]})
    names = ("school bus", "fire truck", "beach ball", "Truck")
    vectors, made = load_word_vectors(source, names, dim=2, norm="none")
    assert vectors.tolist() == [[1, 2], [1, 2], [3, 3], [0, 4]]
    assert made == {
        "school bus": "school_bus",
        "fire truck": "fire + truck",
        "beach ball": "beachball",
        "Truck": "truck",
    }


def test_a_partly_known_name_offers_neighbours_in_meaning(tmp_path):
    rows = {"bus": [1, 0.1, 0], "van": [1, 0.2, 0], "coach": [0.9, 0, 0.1], "tree": [0, 0, 1], "apple": [0, 1, 0]}
    message = fails(write(tmp_path / "w.txt", rows), ("school bus",))
    assert "'school' is unknown" in message and "nearest in meaning to bus: van, coach" in message
