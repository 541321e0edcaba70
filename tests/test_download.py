"""`make data` with curl, from a local server that drops connections or ignores ranges."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import threading
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from sbd_files import write_sbd
from torchvision import models
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from zs3lib.__main__ import main as cli
from zs3lib.classes import DATASETS
from zs3lib.data import download
from zs3lib.data.segmentation import VOC, Context
from zs3lib.errors import ZS3Error

CONTENT = np.random.default_rng(0).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; a connection breaks after `server.drop` bytes, if that is set."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(self.path)
        if self.path not in server.files:
            return self.send_error(404)
        content = server.files[self.path]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.drop])
        server.sent += len(content[start:][: server.drop])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine alone; `server.url` is its address, `server.asked` the requests."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.files, http.asked, http.sent, http.drop, http.ranges = {"/x": CONTENT}, [], 0, None, True
    http.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def item(server, tmp_path):
    """One file of the server, with its checksum; item(url=...) changes its row."""

    def make(**changes):
        row = {"url": f"{server.url}/x", "file": "deep/x", "gb": "0"}
        row |= {"md5": hashlib.md5(CONTENT).hexdigest()}
        return download.Item("x", row | changes, tmp_path)

    return make


def test_a_connection_that_drops_again_and_again_is_resumed(server, item):
    server.drop = 90_000
    item().get()
    assert item().path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) and len(server.asked) == 4, "no byte comes twice"
    assert [path.name for path in item().path.parent.iterdir()] == ["x"]


LEFT = {  # by an earlier call, and what is then still to be sent
    "a part": (CONTENT[:200_000], 100_000),
    "all of it": (CONTENT, 0),
    "of another file": (b"another file" * 10_000, 300_000),
}


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("what", LEFT)
def test_another_days_call_goes_on_where_the_first_stopped(server, item, what, ranges):
    """A server without ranges sends all of it again; another file's part is told, then gone."""
    before, rest = LEFT[what]
    item().part.parent.mkdir()
    item().part.write_bytes(before)
    server.ranges = ranges
    if ranges and what == "of another file":
        with pytest.raises(OSError, match="without the checksum"):
            item().get()
        server.sent = 0
    elif ranges and what == "a part":
        server.drop = 0
        with pytest.raises(OSError):
            item().get(retries=0)
        assert item().part.read_bytes() == before and not item().path.exists()
        server.drop = None
    item().get()
    assert item().path.read_bytes() == CONTENT and not item().part.exists()
    assert server.sent == rest or not ranges


def test_no_ranges_and_a_connection_that_always_drops_ends(server, item):
    server.ranges = False
    server.drop = 1000
    with pytest.raises(OSError):
        item().get(retries=0)
    assert len(server.asked) <= 5


@pytest.mark.parametrize("sums", [{"md5": "0" * 32}, {"sha256": "63fe2227"}])
def test_a_wrong_checksum_is_told_and_nothing_is_left(item, sums):
    with pytest.raises(OSError, match=next(iter(sums.values()))):
        item(**{"md5": None} | sums).get()
    assert not list(item().path.parent.iterdir())


def test_a_file_that_the_server_lacks_is_told(server, item):
    with pytest.raises(OSError, match="404"):
        item(url=f"{server.url}/gone").get()


def archive(path: Path, files: dict[str, bytes], mode="w", **link) -> Path:
    """A tar archive of files, and of one link or device "a" where its `type` is given."""
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("a")
            member.type = link["type"]
            member.linkname = link["to"]
            tar.addfile(member)
    return path


@pytest.mark.parametrize(
    "files, link",
    [
        ({"../evil": b"x"}, {}),
        ({"a/../../evil": b"x"}, {}),
        ({}, {"type": tarfile.SYMTYPE, "to": "/etc/passwd"}),
        ({}, {"type": tarfile.LNKTYPE, "to": "../../x"}),
        ({}, {"type": tarfile.CHRTYPE, "to": ""}),
    ],
)
@pytest.mark.parametrize("pattern", [".*", "wanted"])
def test_a_member_that_points_outside_is_refused(tmp_path, files, link, pattern):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ZS3Error, match="cannot be unpacked"):
        download.unpack(archive(tmp_path / "x.tar", files, **link), root, pattern, r"\g<0>")
    assert not (tmp_path / "evil").exists() and list(root.iterdir()) == []


def test_a_damaged_archive_is_told_and_leaves_no_half_file(tmp_path):
    files = {f"f{i}": CONTENT[i:2000] for i in range(9)}
    whole = archive(tmp_path / "whole.tgz", files, mode="w:gz").read_bytes()
    for spoiled in (whole[:-999], b"<html>404</html>", whole[:600] + b"\0" * 50 + whole[650:]):
        (tmp_path / "x.tgz").write_bytes(spoiled)
        with pytest.raises(ZS3Error, match="x.tgz cannot be unpacked"):
            download.unpack(tmp_path / "x.tgz", tmp_path / "root", "(.*)", r"\1")
        for file in (tmp_path / "root").glob("*"):
            assert len(file.read_bytes()) == len(files[file.name])


def test_files_that_are_there_stay_and_only_wanted_ones_come(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"mine")
    path = archive(tmp_path / "x.tar", {"a": b"theirs", "./sub/b": b"new", "c": b"unwanted"})
    download.unpack(path, root, "a|sub/b", r"\g<0>")
    assert (root / "a").read_bytes() == b"mine" and (root / "sub" / "b").read_bytes() == b"new"
    assert sorted(p.name for p in root.iterdir()) == ["a", "sub"]


def packed(source: Path, name: str, mode="w", prefix="") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        tar.add(source / name, arcname=f"{prefix}{name}")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def published(world, tmp_path_factory) -> dict[str, bytes]:
    """Small archives of the same layout as the real ones, by the file name of their URL."""
    place = shutil.copytree(world, tmp_path_factory.mktemp("published") / "w")
    lists = place / "VOCdevkit" / "VOC2010" / "ImageSets" / "Main"
    shutil.copytree(world / "context", lists, ignore=lambda *_: ["trainval", "labels.txt"])
    annotations = place / "VOCdevkit" / "VOC2012" / "Annotations"
    annotations.mkdir()
    (annotations / "2012_000001.xml").write_text("<annotation/>")
    write_sbd(place / "dataset", {"2008_000001": np.full((40, 50), 12, np.uint8)})
    listed = (place / "dataset" / "train_noval.txt").read_bytes()
    (place / "dataset" / "train_noval.txt").unlink()
    words = [w.encode() + b" " + np.float32([1, 2, 3]).tobytes() for w in ("cow", "unwanted")]
    return {
        "VOCtrainval_11-May-2012.tar": packed(place, "VOCdevkit/VOC2012"),
        "VOCtrainval_03-May-2010.tar": packed(place, "VOCdevkit/VOC2010"),
        "benchmark.tgz": packed(place, "dataset", "w:gz", "benchmark_RELEASE/"),
        "train_noval.txt": listed,
        "trainval.tar.gz": packed(place / "context", "trainval", "w:gz"),
        "resnet101-63fe2227.pth": b"resnet101",
        "mobilenet_v2-b0353104.pth": b"mobilenet",
        "word2vec-google-news-300.gz": gzip.compress(b"2 3\n" + b"".join(words)),
    }


@pytest.fixture
def root(server, published, tmp_path, monkeypatch) -> Path:
    """The data folder; every address of the list is the server's, every checksum its files'."""
    import gensim.downloader

    monkeypatch.setattr(gensim.downloader, "BASE_DIR", str(tmp_path / "gensim"))
    server.files = {f"/{name}": content for name, content in published.items()}
    rows = ConfigParser(interpolation=None)
    rows.read(download.CATALOGUE)
    for row in (rows[name] for name in rows.sections()):
        file = row["url"].rpartition("/")[2]
        row["url"] = f"{server.url}/{file}"
        for kind in {"md5", "sha256"} & set(row):
            digits = hashlib.new(kind, published[file]).hexdigest()
            row[kind] = digits if kind == "md5" else digits[:8]
    with open(tmp_path / "downloads.ini", "w") as file:
        rows.write(file)
    monkeypatch.setattr(download, "CATALOGUE", tmp_path / "downloads.ini")
    return tmp_path / "data"


def test_everything_comes_once_and_is_what_the_readers_read(root, server, tmp_path, capsys, world):
    download.main("paper", DATASETS, root)
    assert "2.00 GB to download" in capsys.readouterr().out
    assert VOC(root, "train").ids[-1] == "2008_000001" and len(VOC(root, "train")) == 25
    for part in ("train", "val"):
        ours, theirs = Context(root, part), Context(world, part)
        assert ours.ids == theirs.ids and (ours.load_mask(0) == theirs.load_mask(0)).all()
    assert (root / "weights" / "resnet101_imagenet.pth").read_bytes() == b"resnet101"
    assert len(list((tmp_path / "gensim").glob("word2vec*/word2vec-google-news-300.gz"))) == 1
    assert not (root / "VOCdevkit" / "VOC2012" / "Annotations").exists()
    assert list((root / "downloads").iterdir()) == []
    assert len(server.asked) == len(set(server.asked)) == 7
    download.main("paper", DATASETS, root)
    assert "Everything is there" in capsys.readouterr().out and len(server.asked) == 7


def test_what_is_on_disk_is_used_as_it_is(root, server, world):
    shutil.copytree(world, root)
    (root / "weights").mkdir(exist_ok=True)
    (root / "weights" / "resnet101_imagenet.pth").write_bytes(b"mine")
    shutil.copytree(root / "context", root / "context" / "full_annotations")  # as ZS3Net has it
    download.main("paper", DATASETS, root)
    wanted = ["/benchmark.tgz", "/train_noval.txt", "/word2vec-google-news-300.gz"]
    assert sorted(server.asked) == wanted
    assert (root / "weights" / "resnet101_imagenet.pth").read_bytes() == b"mine"
    shutil.rmtree(root / "sbd")
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt").write_text("")
    download.main("paper", DATASETS, root)
    assert len(server.asked) == 3, "a devkit with SegmentationClassAug needs no SBD"


def test_archives_put_there_by_hand_are_unpacked_or_told_to_be_wrong(root, server, published):
    (root / "downloads").mkdir(parents=True)
    name = "VOCtrainval_11-May-2012.tar"
    (root / "downloads" / name).write_bytes(published[name])
    (root / "downloads" / "benchmark.tgz").write_bytes(b"half of it")
    with pytest.raises(ZS3Error, match="1 of .*benchmark.tgz is not the file of .* remove it"):
        download.main("paper", ["voc"], root)
    assert f"/{name}" not in server.asked
    assert len(VOC(root, "val")) == 8, "the rest was fetched all the same"


@pytest.mark.parametrize("why", ["no network", "no curl"])
def test_one_line_lists_the_addresses_and_where_the_files_go(root, server, monkeypatch, why):
    if why == "no network":
        server.shutdown()
        server.server_close()
    else:
        monkeypatch.setenv("PATH", "")
    with pytest.raises(ZS3Error) as error:
        download.main("paper", DATASETS, root)
    line = str(error.value)
    assert "7 of 7" in line and "by hand" in line and "\n" not in line
    assert ("curl is not installed" in line) == (why == "no curl")
    for url, place in (
        ("train_noval.txt", "sbd/train_noval.txt"),
        ("trainval.tar.gz", "downloads/pascal-context-trainval.tar.gz"),
    ):
        assert f"{server.url}/{url} -> {root / place} (" in line


def test_too_little_space_is_told_before_anything_is_fetched(root, server, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 0, 10**9)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ZS3Error, match="1.0 GB are free"):
        download.main("paper", DATASETS, root)
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_told(root):
    root.write_text("a file in the folder's place")
    with pytest.raises(ZS3Error, match="Not a directory: '.*data/weights'"):
        download.main("lite", (), root)


def test_lite_gets_its_backbone_and_the_words_of_the_classes(root, server, tmp_path):
    download.main("lite", ["voc"], root)
    assert (root / "weights" / "mobilenet_v2_imagenet.pth").is_file()
    assert (root / "wordvectors.txt").read_text().splitlines() == ["1 3", "cow 1.0 2.0 3.0"]
    shutil.rmtree(tmp_path / "gensim")
    count = len(server.asked)
    download.main("lite", ["voc"], root)
    assert len(server.asked) == count, "the excerpt is enough"


def test_listing_fetches_nothing_and_unknown_datasets_are_told(root, server, capsys):
    assert cli(["data", "--only-list", "--datasets", "voc", "--root", str(root)]) == 0
    assert "SBD: 1.40 GB" in capsys.readouterr().out and server.asked == []
    with pytest.raises(ZS3Error, match="coco"):
        download.main("paper", ["coco"], root)


def test_addresses_and_checksums_are_torchvisions(tmp_path):
    items = {item.name: item for item in download.catalogue("paper", DATASETS, tmp_path)}
    items |= {item.name: item for item in download.catalogue("lite", (), tmp_path)}
    for name, year in (("VOC 2012", "2012"), ("VOC 2010's pictures", "2010")):
        entry = DATASET_YEAR_DICT[year]
        assert (items[name].url, items[name].row["md5"]) == (entry["url"], entry["md5"])
    assert (items["SBD"].url, items["SBD"].row["md5"]) == (SBDataset.url, SBDataset.md5)
    listed = items["SBD's train_noval.txt"]
    assert (listed.url, listed.row["md5"]) == (SBDataset.voc_train_url, SBDataset.voc_split_md5)
    for name, entry in (
        ("resnet101", models.ResNet101_Weights.IMAGENET1K_V1),
        ("mobilenet_v2", models.MobileNet_V2_Weights.IMAGENET1K_V1),
    ):
        item = items[f"{name} (ImageNet)"]
        assert item.url == entry.url and entry.url.endswith(f"-{item.row['sha256']}.pth")
