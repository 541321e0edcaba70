"""Downloads from a local server that drops connections, ignores ranges and lies; archives that point outside; no network."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from sbd_files import write_sbd
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from zs3lib.data import VOC, Context, catalogue, download
from zs3lib.data.fetch import extract, fetch
from zs3lib.errors import ZS3Error

FAST = {"wait": 0.0, "timeout": 5}


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`. `server.drop`: bytes after which a connection breaks; `server.ranges`: whether Range is known."""

    def do_GET(self):
        server, start = self.server, 0
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        content = server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body if server.drop is None else body[: server.drop]
        self.wfile.write(sent)
        server.sent += len(sent)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """A server on this machine alone; `server.url` is its address, `server.asked` the requests it had."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.files, http.asked, http.sent, http.drop, http.ranges, http.length = {}, [], 0, None, True, True
    http.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


def test_a_connection_that_drops_again_and_again_is_resumed(server, tmp_path):
    server.files["/x"], server.drop = CONTENT, 90_000
    path = fetch(f"{server.url}/x", tmp_path / "deep" / "x", md5=MD5, **FAST)
    assert path.read_bytes() == CONTENT and server.sent == len(CONTENT), "no byte comes twice"
    assert [asked for _, asked in server.asked] == [None, "bytes=90000-", "bytes=180000-", "bytes=270000-"]
    assert [p.name for p in path.parent.iterdir()] == ["x"]


def test_another_days_call_goes_on_where_the_first_stopped(server, tmp_path):
    server.files["/x"], server.drop = CONTENT, 0
    (tmp_path / "x.part").write_bytes(CONTENT[:200_000])
    with pytest.raises(OSError):
        fetch(f"{server.url}/x", tmp_path / "x", md5=MD5, tries=2, **FAST)
    assert (tmp_path / "x.part").stat().st_size == 200_000 and not (tmp_path / "x").exists()
    server.drop, server.sent = None, 0
    assert fetch(f"{server.url}/x", tmp_path / "x", md5=MD5, **FAST).read_bytes() == CONTENT
    assert server.sent == 100_000


def test_a_download_that_was_complete_but_not_renamed(server, tmp_path):
    server.files["/x"] = CONTENT
    (tmp_path / "x.part").write_bytes(CONTENT)
    assert fetch(f"{server.url}/x", tmp_path / "x", md5=MD5, **FAST).read_bytes() == CONTENT and server.sent == 0


@pytest.mark.parametrize("left", [b"another file" * 1000, CONTENT + b"and more"])
def test_what_another_file_left_is_started_anew(server, tmp_path, left):
    server.files["/x"] = CONTENT
    (tmp_path / "x.part").write_bytes(left)
    assert fetch(f"{server.url}/x", tmp_path / "x", md5=MD5, **FAST).read_bytes() == CONTENT


@pytest.mark.parametrize("length", [True, False])
def test_a_server_that_knows_no_ranges(server, tmp_path, length):
    server.files["/x"], server.ranges, server.length = CONTENT, False, length
    (tmp_path / "x.part").write_bytes(CONTENT[:200_000])
    assert fetch(f"{server.url}/x", tmp_path / "x", md5=MD5, **FAST).read_bytes() == CONTENT


def test_no_ranges_and_a_connection_that_always_drops_ends(server, tmp_path):
    server.files["/x"], server.ranges, server.drop = CONTENT, False, 1000
    with pytest.raises(OSError, match="closed early"):
        fetch(f"{server.url}/x", tmp_path / "x", tries=3, **FAST)
    assert len(server.asked) <= 5


@pytest.mark.parametrize("kind, value", [("md5", "0" * 32), ("sha256", "63fe2227")])
def test_a_wrong_checksum_is_told_and_nothing_is_left(server, tmp_path, kind, value):
    server.files["/x"] = CONTENT
    with pytest.raises(ZS3Error, match=value) as error:
        fetch(f"{server.url}/x", tmp_path / "x", **{kind: value}, **FAST)
    assert hashlib.new(kind, CONTENT).hexdigest() in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_first_digits_of_a_sha256_are_enough(server, tmp_path):
    server.files["/x"] = CONTENT
    fetch(f"{server.url}/x", tmp_path / "x", sha256=hashlib.sha256(CONTENT).hexdigest()[:8], **FAST)


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    (tmp_path / "x").write_bytes(b"mine")
    assert fetch(f"{server.url}/x", tmp_path / "x", md5=MD5).read_bytes() == b"mine" and server.asked == []


def test_a_full_disk_is_told_at_once(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    server.files["/x"] = CONTENT
    monkeypatch.setattr("zs3lib.data.fetch.open", full, raising=False)
    with pytest.raises(ZS3Error, match="No space left"):
        fetch(f"{server.url}/x", tmp_path / "x", **FAST)
    assert len(server.asked) == 1


# ---- archives -------------------------------------------------------------------------------------------------------


def archive(path: Path, files: dict[str, bytes], members=(), mode="w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            (member := tarfile.TarInfo(name)).size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    (member := tarfile.TarInfo(name)).type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "files, members",
    [({"../evil": b"x"}, ()), ({"a/../../evil": b"x"}, ()), ({}, [link("a", "/etc/passwd")]), ({}, [link("a", "../../x")]),
     ({}, [link("a", "../../x", tarfile.LNKTYPE)]), ({}, [link("dev", "", tarfile.CHRTYPE)])],
)  # fmt: skip
def test_a_member_that_points_outside_is_refused(tmp_path, files, members):
    (root := tmp_path / "root").mkdir()
    with pytest.raises(ZS3Error, match="may not be unpacked"):
        extract(archive(tmp_path / "x.tar", files, members), root, lambda name: None)
    assert not (tmp_path / "evil").exists() and list(root.iterdir()) == []


def test_an_absolute_name_stays_below_the_folder(tmp_path):
    (root := tmp_path / "root").mkdir()
    outside = tmp_path / "outside"
    extract(archive(tmp_path / "x.tar", {str(outside): b"x"}), root, lambda name: name)
    assert not outside.exists() and (root / str(outside).lstrip("/")).read_bytes() == b"x"


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"<html>404</html>", lambda b: b[:600] + b"\0" * 50 + b[650:]]
)
def test_a_damaged_archive_is_told(tmp_path, damage):
    whole = archive(tmp_path / "whole.tgz", {f"f{i}": CONTENT[i:2000] for i in range(9)}, mode="w:gz").read_bytes()
    (tmp_path / "x.tgz").write_bytes(damage(whole))
    with pytest.raises(ZS3Error, match="x.tgz cannot be unpacked"):
        extract(tmp_path / "x.tgz", tmp_path, lambda name: name)


def test_files_that_are_there_stay_and_unpacking_goes_on(tmp_path):
    (root := tmp_path / "root").mkdir()
    (root / "a").write_bytes(b"mine")
    path = archive(tmp_path / "x.tar", {"a": b"theirs", "sub/b": b"new", "c": b"unwanted"})
    assert extract(path, root, lambda name: None if name == "c" else name) == 1
    assert (root / "a").read_bytes() == b"mine" and (root / "sub" / "b").read_bytes() == b"new"
    assert sorted(p.name for p in root.iterdir()) == ["a", "sub"]
    assert extract(path, root, lambda name: None if name == "c" else name) == 0


# ---- all of it ------------------------------------------------------------------------------------------------------


def packed(source: Path, names, mode="w", prefix="") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name in names:
            tar.add(source / name, arcname=f"{prefix}{name}")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def published(world, tmp_path_factory) -> dict[str, bytes]:
    """Small archives of the same layout as the real ones, by the file name of their URL."""
    place = tmp_path_factory.mktemp("published")
    shutil.copytree(world, place / "w")
    kit10 = place / "w" / "VOCdevkit" / "VOC2010"
    (kit10 / "ImageSets" / "Main").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copy(world / "context" / f"{split}.txt", kit10 / "ImageSets" / "Main")
    kit12 = place / "w" / "VOCdevkit" / "VOC2012"
    (kit12 / "Annotations").mkdir()
    (kit12 / "Annotations" / "2012_000001.xml").write_text("<annotation/>")
    write_sbd(place / "sbd" / "dataset", {"2008_000001": np.full((40, 50), 12, np.uint8)})
    (place / "sbd" / "dataset" / "inst").mkdir()
    listed = (place / "sbd" / "dataset" / "train_noval.txt").read_bytes()
    (place / "sbd" / "dataset" / "train_noval.txt").unlink()
    words = ["cow", "background", "airplane"]
    table = np.arange(9, dtype=np.float32).reshape(3, 3)
    rows = b"".join(w.encode() + b" " + row.tobytes() for w, row in zip(words, table))
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    return {
        "VOCtrainval_11-May-2012.tar": packed(place / "w", ["VOCdevkit/VOC2012"]),
        "VOCtrainval_03-May-2010.tar": packed(place / "w", ["VOCdevkit/VOC2010"]),
        "benchmark.tgz": packed(place / "sbd", ["dataset"], "w:gz", "benchmark_RELEASE/"),
        "train_noval.txt": listed,
        "trainval.tar.gz": packed(world / "context", ["trainval"], "w:gz"),
        "resnet101-63fe2227.pth": buffer.getvalue(),
        "mobilenet_v2-b0353104.pth": buffer.getvalue(),
        "word2vec-google-news-300.gz": gzip.compress(b"3 3\n" + rows),
    }


@pytest.fixture
def here(server, published, tmp_path, monkeypatch):
    """The catalogue with every URL on this machine, and the small files' checksums in place of the real ones'."""
    import gensim.downloader

    monkeypatch.setattr(gensim.downloader, "BASE_DIR", str(tmp_path / "gensim"))
    server.files = {f"/{name}": content for name, content in published.items()}

    def make(profile, root, datasets=("voc", "context")):
        items = []
        for item in catalogue.catalogue(profile, root, datasets):
            names = [url.rpartition("/")[2] for url in item.urls]
            content = published[names[0]]
            sums = {"md5": hashlib.md5(content).hexdigest() if item.md5 else "",
                    "sha256": hashlib.sha256(content).hexdigest()[:8] if item.sha256 else ""}  # fmt: skip
            items.append(replace(item, urls=tuple(f"{server.url}/{name}" for name in names), **sums))
        return items

    monkeypatch.setattr(download, "catalogue", make)
    return make


def test_everything_comes_once_and_is_what_the_loaders_read(here, server, tmp_path, capsys, world):
    root = tmp_path / "data"
    assert download.main(["--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert "2.00 GB to download" in out and "at most" in out and "GB are free" in out
    assert VOC(root, "train").ids[-1] == "2008_000001" and len(VOC(root, "train")) == 25
    for split in ("train", "val"):
        ours, theirs = Context(root, split), Context(world, split)
        assert ours.ids == theirs.ids and (ours.load_mask(0) == theirs.load_mask(0)).all()
    assert (root / "weights" / "resnet101_imagenet.pth").is_file() and catalogue.words_file().is_file()
    kit = root / "VOCdevkit" / "VOC2012"
    assert not (kit / "Annotations").exists() and list((root / "downloads").iterdir()) == []
    paths = [path for path, _ in server.asked]
    assert len(paths) == len(set(paths)) == 7

    assert download.main(["--root", str(root)]) == 0
    assert "Everything is there" in capsys.readouterr().out and len(server.asked) == 7


def test_what_is_on_disk_is_used_as_it_is(here, server, tmp_path, world):
    root = tmp_path / "data"
    shutil.copytree(world, root)
    (root / "weights").mkdir(exist_ok=True)
    (root / "weights" / "resnet101_imagenet.pth").write_bytes(b"mine")
    shutil.copytree(root / "context", root / "context" / "full_annotations")  # as ZS3Net has it
    assert download.main(["--root", str(root)]) == 0
    assert sorted(path for path, _ in server.asked) == [
        "/benchmark.tgz",
        "/train_noval.txt",
        "/word2vec-google-news-300.gz",
    ]
    assert (root / "weights" / "resnet101_imagenet.pth").read_bytes() == b"mine"


def test_a_devkit_with_segmentationclassaug_needs_no_sbd(here, server, tmp_path, world):
    shutil.copytree(world, root := tmp_path / "data")
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt").write_text("")
    assert download.main(["--root", str(root), "--datasets", "voc"]) == 0
    assert {path for path, _ in server.asked} == {"/resnet101-63fe2227.pth", "/word2vec-google-news-300.gz"}


def test_an_archive_put_there_by_hand_is_unpacked(here, server, published, tmp_path):
    root = tmp_path / "data"
    (root / "downloads").mkdir(parents=True)
    (root / "downloads" / "VOCtrainval_11-May-2012.tar").write_bytes(published["VOCtrainval_11-May-2012.tar"])
    assert download.main(["--root", str(root), "--datasets", "voc"]) == 0
    assert "/VOCtrainval_11-May-2012.tar" not in {path for path, _ in server.asked} and len(VOC(root, "val")) == 8


def test_a_wrong_archive_put_there_by_hand_is_told(here, tmp_path, capsys):
    (folder := tmp_path / "data" / "downloads").mkdir(parents=True)
    (folder / "benchmark.tgz").write_bytes(b"half of it")
    assert download.main(["--root", str(tmp_path / "data"), "--datasets", "voc"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "benchmark.tgz is not the file" in error and "remove it" in error
    assert len(VOC(tmp_path / "data", "val")) == 8, "the rest was fetched all the same"


def test_without_a_network_one_line_lists_the_urls_and_where_the_files_go(here, server, tmp_path, capsys):
    server.shutdown()
    server.server_close()
    root = tmp_path / "data"
    assert download.main(["--root", str(root)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "7 of 7" in line and "by hand" in line
    for url, place in (
        ("VOCtrainval_11-May-2012.tar", "downloads/VOCtrainval_11-May-2012.tar"), ("train_noval.txt", "sbd/train_noval.txt"),
        ("resnet101-63fe2227.pth", "weights/resnet101_imagenet.pth"),
        ("trainval.tar.gz", "downloads/pascal-context-trainval.tar.gz"),
    ):  # fmt: skip
        assert f"{server.url}/{url} -> {root / place} (" in line


def test_another_address_is_tried(here, server, tmp_path):
    item = next(i for i in here("paper", tmp_path) if "train_noval" in i.name)
    assert len(item.urls) == 2
    item = replace(item, urls=(f"{server.url}/gone", item.urls[1]))
    download.get(item, tmp_path, **FAST)
    assert (tmp_path / "sbd" / "train_noval.txt").read_text() == "2008_000001\n"


def test_too_little_space_is_told_before_anything_is_fetched(here, server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9))
    assert download.main(["--root", str(tmp_path / "data")]) == 2
    assert "1.0 GB are free" in capsys.readouterr().err and server.asked == []


def test_lite_gets_its_backbone_and_the_words_of_the_classes(here, tmp_path):
    root = tmp_path / "data"
    assert download.main(["--root", str(root), "--profile", "lite", "--datasets", "voc"]) == 0
    assert (root / "weights" / "mobilenet_v2_imagenet.pth").is_file()
    assert (root / "wordvectors.txt").read_text().splitlines()[:2] == ["3 3", "cow 0.0 1.0 2.0"]


def test_listing_fetches_nothing(here, server, tmp_path, capsys):
    assert download.main(["--root", str(tmp_path / "data"), "--list"]) == 0
    assert "SBD: 1.40 GB" in capsys.readouterr().out and server.asked == []


def test_addresses_and_checksums_are_those_of_torchvision_and_gensim(tmp_path):
    items = {item.name: item for item in catalogue.catalogue("paper", tmp_path)}
    for name, year in (("VOC 2012", "2012"), ("VOC 2010's pictures", "2010")):
        assert (items[name].urls[0], items[name].md5) == (
            DATASET_YEAR_DICT[year]["url"],
            DATASET_YEAR_DICT[year]["md5"],
        )
    assert items["SBD"].md5 == SBDataset.md5 and items["SBD's train_noval.txt"].md5 == SBDataset.voc_split_md5
    assert items["resnet101 (ImageNet)"].urls[0].endswith(f"-{items['resnet101 (ImageNet)'].sha256}.pth")
    assert callable(items["word2vec-google-news-300"].md5)
