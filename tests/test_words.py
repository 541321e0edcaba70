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


ROWS = {"cow": [1, 0], "airplane": [0, 2], "potted": [0, 2], "plant": [4, 4], "tv": [3, 0]}
ROWS |= {"monitor": [0, 9], "table": [5, 5], "school_bus": [1, 2], "fire": [2, 0]}
ROWS |= {"truck": [0, 4], "beachball": [3, 3]}


@pytest.mark.parametrize(
    "name, used, vector",
    [
        ("cow", None, [1, 0]),
        ("aeroplane", "airplane", [0, 2]),
        ("pottedplant", "potted + plant", [2, 3]),
        ("tvmonitor", "tv", [3, 0]),
        ("diningtable", "table", [5, 5]),
        ("school bus", "school_bus", [1, 2]),
        ("fire truck", "fire + truck", [1, 2]),
        ("beach ball", "beachball", [3, 3]),
        ("Truck", "truck", [0, 4]),
    ],
)
def test_spellings_are_tried_in_order_and_reported(tmp_path, name, used, vector):
    source = write(tmp_path / "w.txt", ROWS)
    vectors, made = load_word_vectors(source, (name,), dim=2, norm="none")
    assert vectors.tolist() == [vector] and made == ({name: used} if used else {})


@pytest.mark.parametrize("norm, lengths", [("none", [5, 0.5]), ("unit", [1, 1]), ("noise", [2, 2])])
def test_norms(tmp_path, norm, lengths):
    source = write(tmp_path / "w.txt", {"cow": [3, 4, 0, 0], "cat": [0, 0, 0, 0.5]})
    vectors, _ = load_word_vectors(source, ("cow", "cat"), dim=4, norm=norm)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(lengths)
    assert vectors[0] / lengths[0] == pytest.approx([0.6, 0.8, 0, 0])
    assert vectors.dtype == np.float32


@pytest.fixture(params=["w.txt", "w.txt.gz", "w.bin", "google.gz"])
def source(request, tmp_path):
    """The same three words in each format; gensim's downloader names its binary file just .gz."""
    from gensim.models import KeyedVectors

    rows = {"a": [1, 2, 3], "cow": [0.1, 1e-30, -3], "\u00e9t\u00e9": [5, 6, 7], "cat": [4, 5, 6.5]}
    vectors = KeyedVectors.load_word2vec_format(write(tmp_path / "w.txt", rows))
    vectors.save_word2vec_format(str(tmp_path / "w.bin"), binary=True)
    for name, plain in (("w.txt.gz", "w.txt"), ("google.gz", "w.bin")):
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
    names[7] = "cow"
    names[9_000] = "airplane"
    names[-1] = "sofa"
    rows = b"".join(w.encode() + b" " + row.tobytes() for w, row in zip(names, table))
    path = tmp_path / "google.bin"
    path.write_bytes(f"{count} 300\n".encode() + rows)
    monkeypatch.setattr(module, "LARGE", 0)

    def load(*classes):
        return load_word_vectors(str(path), classes, norm="none", cache=tmp_path / "cache")

    tracemalloc.start()
    vectors, _ = load("cow", "aeroplane")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * path.stat().st_size and (vectors == table[[7, 9_000]]).all()
    (small,) = (tmp_path / "cache" / "words").glob("*")
    made_at = small.stat().st_mtime_ns
    assert small.stat().st_size < 10_000 and (load("sofa")[0][0] == table[-1]).all()
    assert [p.stat().st_mtime_ns for p in small.parent.glob("*")] == [made_at]

    path.write_bytes(path.read_bytes()[:-5_000])
    assert "google.bin" in fails(str(path), dim=300, cache=tmp_path / "other")
    assert not list((tmp_path / "other" / "words").glob("*"))


def test_a_name_in_gensims_downloader(tmp_path, monkeypatch):
    import gensim.downloader

    monkeypatch.setattr(gensim.downloader, "BASE_DIR", str(tmp_path))
    monkeypatch.setattr(gensim.downloader, "load", lambda *_, **__: 1 / 0)
    (tmp_path / "small-3").mkdir()
    (tmp_path / "small-3" / "small-3.gz").write_bytes(gzip.compress(b"1 3\ncow 1 2 3\n"))
    assert load_word_vectors("small-3", ("cow",), dim=3)[0].shape == (1, 3)
    assert "-p word_vectors" in fails("no-such-model")


@pytest.mark.parametrize(
    "name, says, silent",
    [
        ("horse", "no vector for 'horse'; nearest spellings there: ", "tree"),
        ("xylophone", "no vector for 'xylophone'", ";"),
        ("school bus", "'school' is unknown", "tree"),
        ("school bus", "nearest in meaning to bus: van", "tree"),
    ],
)
def test_a_missing_word_offers_near_spellings_and_meanings(tmp_path, name, says, silent):
    rows = {"bus": [1, 0.1, 0], "van": [1, 0.2, 0], "coach": [0.9, 0, 0.1], "house": [0.8, 0, 0]}
    source = write(tmp_path / "w.txt", rows | {"tree": [0, 0, 1]})
    message = fails(source, (name,))
    assert source in message and says in message and silent not in message


@pytest.mark.parametrize("header", ["cow 1 2 3", "hello world", "1", "9 3", "1 5", "one 3"])
def test_a_wrong_header(tmp_path, header):
    assert "w.txt" in fails(write(tmp_path / "w.txt", {"cow": [1, 2, 3]}, header))


PACKED = gzip.compress(b"1 3\ncow 1 2 3\n")
BAD = [b"", b"\xff\xfe\x00\x01" * 50, b"1 3\ncow 1 2\n", b"1 3\ncow 1 two 3\n", PACKED]


@pytest.mark.parametrize(
    "name, content", [*(("w.txt", x) for x in BAD), ("w.gz", PACKED[:-9]), ("w.gz", BAD[2])]
)
def test_a_file_of_something_else(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in fails(str(tmp_path / name))


def test_a_missing_file_a_folder_and_another_dimension(tmp_path):
    source = write(tmp_path / "w.txt", {"cow": [1, 2, 3], "cat": ["nan", 2, 3]})
    assert "3 dimensions: 300" in fails(source, dim=300)
    for path in (tmp_path / "no" / "vectors.txt", tmp_path):
        assert str(path) in fails(str(path)) and "-p word_vectors" in fails(str(path))
    assert "not finite for cat" in fails(source, ("cow", "cat"))
