"""Word vectors: spellings tried, lengths, large files, and files of something else."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from gensim import downloader
from gensim.models import KeyedVectors

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
        ("school bus", "school_bus", [1, 2]),
        ("fire truck", "fire + truck", [1, 2]),
        ("beach ball", "beachball", [3, 3]),
        ("Truck", "truck", [0, 4]),
        ("fire-truck", "fire + truck", [1, 2]),  # as COCO-Stuff names some of its classes
        ("truck-other", "truck", [0, 4]),
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


@pytest.mark.parametrize("name", ["w.txt", "w.txt.gz", "w.bin", "google.gz"])
@pytest.mark.parametrize("large", [0, 50_000_000])
def test_formats_are_told_apart_and_an_excerpt_is_as_the_whole(tmp_path, monkeypatch, name, large):
    """Gensim's downloader names its binary file just .gz; a binary number may hold a line end."""
    line_end = float(np.frombuffer(b"\n\n\n\x40", np.float32)[0])
    rows = {"a": [line_end, 2, 3], "cow": [0.1, 1e-30, -3], "\u00e9t\u00e9": [5, 6, 7]}
    rows |= {"cat": [line_end, 5, 6.5]}
    vectors = KeyedVectors.load_word2vec_format(write(tmp_path / "w.txt", rows))
    vectors.save_word2vec_format(str(tmp_path / "w.bin"), binary=True)
    for packed, plain in (("w.txt.gz", "w.txt"), ("google.gz", "w.bin")):
        (tmp_path / packed).write_bytes(gzip.compress((tmp_path / plain).read_bytes()))
    monkeypatch.setattr(module, "LARGE", large)
    given = {"dim": 3, "norm": "none", "cache": tmp_path / "cache"}
    found, _ = load_word_vectors(str(tmp_path / name), ("cat", "cow"), **given)
    assert found.tolist() == np.float32([rows["cat"], rows["cow"]]).tolist()


def test_of_a_large_file_only_the_needed_words_are_held_and_it_is_read_once(tmp_path, monkeypatch):
    count = 30_000
    table = np.random.default_rng(0).standard_normal((count, 300)).astype(np.float32)
    names = [f"w{i}" for i in range(count)]
    names[7] = "cow"
    names[-1] = "sofa"
    rows = b"".join(w.encode() + b" " + row.tobytes() for w, row in zip(names, table))
    path = tmp_path / "google.bin"
    path.write_bytes(f"{count} 300\n".encode() + rows)
    monkeypatch.setattr(module, "LARGE", 0)
    tracemalloc.start()
    vectors, _ = load_word_vectors(str(path), ("cow",), norm="none", cache=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * path.stat().st_size and (vectors == table[7]).all()
    (small,) = (tmp_path / "words").glob("*")
    made_at = small.stat().st_mtime_ns
    vectors, _ = load_word_vectors(str(path), ("sofa",), norm="none", cache=tmp_path)
    assert (vectors == table[-1]).all() and small.stat().st_size < 10_000
    assert [p.stat().st_mtime_ns for p in small.parent.glob("*")] == [made_at]


def test_a_name_in_gensims_downloader(tmp_path, monkeypatch):
    monkeypatch.setattr(downloader, "BASE_DIR", str(tmp_path))
    monkeypatch.setattr(downloader, "load", lambda *_, **__: 1 / 0)
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
        ("fire horse", "'fire' is unknown: 'horse' is unknown; nearest spellings there: ", "tree"),
    ],
)
def test_a_missing_word_offers_near_spellings(tmp_path, name, says, silent):
    source = write(tmp_path / "w.txt", {"bus": [1, 0, 0], "house": [1, 0, 1], "tree": [0, 0, 1]})
    message = fails(source, (name,))
    assert source in message and says in message and silent not in message


TEXT = b"1 3\ncow 1 2 3\n"
ZIPPED = gzip.compress(TEXT, mtime=0)
HEADERS = [b"cow 1 2 3", b"hello world", b"1", b"9 3", b"1 5", b"one 3"]
BAD = [
    *(("w.txt", TEXT.replace(b"1 3", header, 1)) for header in HEADERS),
    ("w.txt", b""),
    ("w.txt", b"\xff\xfe\x00\x01" * 50),
    ("w.txt", TEXT.replace(b" 3\n", b"\n")),
    ("w.txt", TEXT.replace(b"2", b"two")),
    ("w.txt", ZIPPED),
    ("w.gz", ZIPPED[:-9]),
    ("w.gz", TEXT),
    ("no/vectors.txt", None),
    ("", None),
]


@pytest.mark.parametrize("name, content", BAD)
def test_a_file_of_something_else_or_none(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in fails(str(tmp_path / name))
