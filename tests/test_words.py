"""Word vectors: spellings tried, lengths, large files, and files of something else."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest

from zs3lib.data import words as module
from zs3lib.data.words import load_word_vectors
from zs3lib.errors import ZS3Error


def write(path, rows: dict[str, list], header: str | None = None) -> str:
    lines = [header or f"{len(rows)} {len(next(iter(rows.values())))}"]
    lines += [f"{word} {' '.join(map(str, row))}" for word, row in rows.items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def fails(source, names=("cow",), dim=3, **options) -> str:
    with pytest.raises(ZS3Error) as caught:
        load_word_vectors(source, names, dim=dim, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- spellings and lengths ----------------------------------------------------------------------


def test_substitutions_are_made_in_order_and_reported(tmp_path):
    rows = {"cow": [1, 0], "airplane": [0, 2], "potted": [0, 2], "plant": [4, 4], "tv": [3, 0]}
    rows |= {"monitor": [0, 9], "table": [5, 5], "sofa": [1, 2], "couch": [7, 7]}
    names = ("cow", "aeroplane", "pottedplant", "tvmonitor", "diningtable", "sofa")
    vectors, made = load_word_vectors(write(tmp_path / "w.txt", rows), names, dim=2, norm="none")
    assert made == {
        "aeroplane": "airplane",
        "pottedplant": "potted + plant",
        "tvmonitor": "tv",
        "diningtable": "table",
    }
    assert vectors.tolist() == [[1, 0], [0, 2], [2, 3], [3, 0], [5, 5], [1, 2]]
    assert vectors.dtype == np.float32


def test_names_of_several_words_and_in_capitals(tmp_path):
    rows = {"school_bus": [1, 2], "fire": [2, 0], "truck": [0, 4], "beachball": [3, 3]}
    names = ("school bus", "fire truck", "beach ball", "Truck")
    vectors, made = load_word_vectors(write(tmp_path / "w.txt", rows), names, dim=2, norm="none")
    assert vectors.tolist() == [[1, 2], [1, 2], [3, 3], [0, 4]]
    assert list(made.values()) == ["school_bus", "fire + truck", "beachball", "truck"]


@pytest.mark.parametrize("norm, lengths", [("none", [5, 0.5]), ("unit", [1, 1]), ("noise", [2, 2])])
def test_norms(tmp_path, norm, lengths):
    source = write(tmp_path / "w.txt", {"cow": [3, 4, 0, 0], "cat": [0, 0, 0, 0.5]})
    vectors, _ = load_word_vectors(source, ("cow", "cat"), dim=4, norm=norm)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(lengths)
    assert vectors[0] / lengths[0] == pytest.approx([0.6, 0.8, 0, 0])
    assert vectors.dtype == np.float32


# ---- files --------------------------------------------------------------------------------------


@pytest.fixture(params=["w.txt", "w.txt.gz", "w.bin", "w.bin.gz", "google.gz"])
def source(request, tmp_path):
    """The same three words in each format; gensim's downloader names its binary file just .gz."""
    from gensim.models import KeyedVectors

    rows = {"a": [1, 2, 3], "cow": [0.1, 1e-30, -3], "\u00e9t\u00e9": [5, 6, 7], "cat": [4, 5, 6.5]}
    vectors = KeyedVectors.load_word2vec_format(write(tmp_path / "w.txt", rows))
    vectors.save_word2vec_format(str(tmp_path / "w.bin"), binary=True)
    for name, plain in (("w.txt.gz", "w.txt"), ("w.bin.gz", "w.bin"), ("google.gz", "w.bin")):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / plain).read_bytes()))
    return str(tmp_path / request.param)


@pytest.mark.parametrize("large", [0, 50_000_000])
def test_formats_are_told_apart_and_an_excerpt_is_as_the_whole(
    source, large, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "LARGE", large)
    found, _ = load_word_vectors(source, ("cat", "cow"), dim=3, norm="none", cache=tmp_path / "c")
    assert found.tolist() == np.float32([[4, 5, 6.5], [0.1, 1e-30, -3]]).tolist()
    assert "nearest spellings there: cat" in fails(source, ("cats",), cache=tmp_path / "c")


def test_of_a_large_file_only_the_needed_words_are_held_and_it_is_read_once(tmp_path, monkeypatch):
    count = 30_000
    table = np.random.default_rng(0).standard_normal((count, 300)).astype(np.float32)
    names = [f"w{i}" for i in range(count)]
    for place, word in ((7, "cow"), (9_000, "airplane"), (20_000, "potted"), (count - 1, "plant")):
        names[place] = word
    rows = b"".join(w.encode() + b" " + row.tobytes() for w, row in zip(names, table))
    path = tmp_path / "google.bin"
    path.write_bytes(f"{count} 300\n".encode() + rows)
    monkeypatch.setattr(module, "LARGE", path.stat().st_size - 1)

    def load(*classes):
        return load_word_vectors(str(path), classes, norm="none", cache=tmp_path / "cache")

    tracemalloc.start()
    vectors, made = load("cow", "aeroplane")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * path.stat().st_size and made == {"aeroplane": "airplane"}
    assert (vectors == table[[7, 9_000]]).all()
    (small,) = (tmp_path / "cache" / "words").glob("*")
    assert small.stat().st_size < 10_000
    made_at = small.stat().st_mtime_ns
    np.testing.assert_allclose(load("pottedplant")[0][0], table[[20_000, -1]].mean(0), rtol=1e-6)
    assert [p.stat().st_mtime_ns for p in small.parent.glob("*")] == [made_at]

    (tmp_path / "half.bin").write_bytes(path.read_bytes()[: path.stat().st_size - 5_000])
    monkeypatch.setattr(module, "LARGE", 0)
    assert "half.bin" in fails(str(tmp_path / "half.bin"), dim=300, cache=tmp_path / "other")
    assert not list((tmp_path / "other" / "words").glob("*"))


def test_a_name_in_gensims_downloader(tmp_path, monkeypatch):
    import gensim.downloader

    monkeypatch.setattr(gensim.downloader, "BASE_DIR", str(tmp_path))
    monkeypatch.setattr(gensim.downloader, "load", lambda *_, **__: 1 / 0)
    (tmp_path / "small-3").mkdir()
    text = write(tmp_path / "w.txt", {"cow": [1, 2, 3]})
    (tmp_path / "small-3" / "small-3.gz").write_bytes(gzip.compress(open(text, "rb").read()))
    assert load_word_vectors("small-3", ("cow",), dim=3)[0].shape == (1, 3)
    assert "-p word_vectors" in fails("no-such-model")


# ---- what is wrong with them --------------------------------------------------------------------


def test_a_missing_word_offers_near_spellings_and_meanings(tmp_path):
    rows = {"hose": [1, 2, 3], "house": [1, 2, 3], "sky": [1, 2, 3]}
    source = write(tmp_path / "w.txt", rows)
    message = fails(source, ("horse",))
    assert "'horse'" in message and source in message
    assert "house" in message and "hose" in message and "sky" not in message
    assert fails(source, ("xylophone",)).endswith("no vector for 'xylophone'")
    rows = {"bus": [1, 0.1, 0], "van": [1, 0.2, 0], "coach": [0.9, 0, 0.1], "tree": [0, 0, 1]}
    message = fails(write(tmp_path / "w.txt", rows), ("school bus",))
    assert "'school' is unknown" in message and "in meaning to bus: van, coach" in message


@pytest.mark.parametrize("header", ["cow 1 2 3", "hello world", "1", "9 3", "1 5", "one 3"])
def test_a_wrong_header(tmp_path, header):
    assert "w.txt" in fails(write(tmp_path / "w.txt", {"cow": [1, 2, 3]}, header))


def test_a_file_of_something_else(tmp_path):
    packed = gzip.compress(b"1 3\ncow 1 2 3\n")
    text = (b"", b"\xff\xfe\x00\x01" * 50, b"1 3\ncow 1 2\n", b"1 3\ncow 1 two 3\n", packed)
    for name, content in (*(("w.txt", x) for x in text), ("w.gz", packed[:-9]), ("w.gz", text[2])):
        (tmp_path / name).write_bytes(content)
        assert name in fails(str(tmp_path / name))


def test_a_missing_file_a_folder_and_another_dimension(tmp_path):
    source = write(tmp_path / "w.txt", {"cow": [1, 2, 3], "cat": ["nan", 2, 3]})
    assert "3 dimensions: 300" in fails(source, dim=300)
    for path in (tmp_path / "no" / "vectors.txt", tmp_path):
        assert str(path) in fails(str(path)) and "-p word_vectors" in fails(str(path))
    assert "not finite for cat" in fails(source, ("cow", "cat"))
    assert load_word_vectors(source, ("cow",), dim=3)[0].shape == (1, 3), "cat was not asked for"
