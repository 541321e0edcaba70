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
from zipfile import ZipFile

import gensim.downloader
import numpy as np
import pytest
from sbd_files import write_sbd
from torchvision import models
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from zs3lib.__main__ import main as cli
from zs3lib.classes import DATASETS, in_grid
from zs3lib.data import download
from zs3lib.data.segmentation import VOC, CocoStuff, Context
from zs3lib.errors import ZS3Error
from zs3lib.toy import cocostuff

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
        rest = content[start:]
        self.send_response(416 if not rest else 206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        server.sent += len(rest[: server.drop])  # before the client can have it and look
        self.wfile.write(rest[: server.drop])
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
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


LEFT = [  # by an earlier call; whether the server knows ranges; what is then still to be sent
    (b"", True, 300_000),
    (CONTENT[:200_000], True, 100_000),
    (CONTENT, True, 0),
    (CONTENT[:200_000], False, 300_000),
]


@pytest.mark.parametrize("before, ranges, rest", LEFT)
def test_a_download_goes_on_where_it_broke_off(server, tmp_path, before, ranges, rest):
    server.drop = 90_000 if ranges else None
    server.ranges = ranges
    (tmp_path / "x.part").write_bytes(before)
    download.curl(f"{server.url}/x", tmp_path / "x.part", retries=0)
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert server.sent == rest or not ranges, "no byte comes twice"


@pytest.mark.parametrize("ranges, drop", [(False, 1000), (True, 0)])
def test_a_connection_that_always_drops_ends_and_keeps_what_came(server, tmp_path, ranges, drop):
    server.ranges = ranges
    server.drop = drop
    (tmp_path / "x.part").write_bytes(CONTENT[:500])
    with pytest.raises(OSError):
        download.curl(f"{server.url}/x", tmp_path / "x.part", retries=0)
    assert len(server.asked) <= 5
    assert not ranges or (tmp_path / "x.part").read_bytes() == CONTENT[:500]


def archive(path: Path, files: dict[str, bytes], *, kind=tarfile.REGTYPE, to="") -> Path:
    """A tar archive, gzipped, of files, or of links to `to`."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = kind
            member.linkname = to
            tar.addfile(member, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """A zip archive of files, and entries for their folders."""
    with ZipFile(path, "w") as pack:
        for folder in {name.rpartition("/")[0] for name in files} - {""}:
            pack.writestr(f"{folder}/", b"")
        for name, content in files.items():
            pack.writestr(name, content)
    return path


PACKERS = [(archive, "x.tgz"), (zipped, "x.zip")]


@pytest.mark.parametrize(
    "make, file, name, link",
    [(make, file, name, {}) for make, file in PACKERS for name in ("../evil", "a/../../evil")]
    + [
        (archive, "x.tgz", "a", {"kind": tarfile.SYMTYPE, "to": "/etc/passwd"}),
        (archive, "x.tgz", "a", {"kind": tarfile.LNKTYPE, "to": "../../x"}),
        (archive, "x.tgz", "a", {"kind": tarfile.CHRTYPE}),
    ],
)
def test_a_member_that_points_outside_is_refused(tmp_path, make, file, name, link):
    path = make(tmp_path / file, {name: b""}, **link)
    with pytest.raises(ZS3Error, match=f"{file} cannot be unpacked"):
        download.unpack(path, tmp_path / "root", ".*", r"\g<0>")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make, name", PACKERS)
def test_a_damaged_archive_is_told_and_leaves_no_half_file(tmp_path, make, name):
    files = {f"f{i}": CONTENT[i:2000] for i in range(9)}
    path = make(tmp_path / name, files)
    whole = path.read_bytes()
    for spoiled in (whole[:-999], b"<html>404</html>", whole[:600] + b"\0" * 50 + whole[650:]):
        path.write_bytes(spoiled)
        with pytest.raises(ZS3Error, match=f"{name} cannot be unpacked"):
            download.unpack(path, tmp_path / "root", "(.*)", r"\1")
        for file in (tmp_path / "root").glob("*"):
            assert file.read_bytes() == files[file.name]


@pytest.mark.parametrize("make, name", PACKERS)
def test_files_that_are_there_stay_and_only_wanted_ones_come(tmp_path, make, name):
    (tmp_path / "a").write_bytes(b"mine")
    path = make(tmp_path / name, {"a": b"theirs", "./sub/b": b"new", "c": b"unwanted"})
    download.unpack(path, tmp_path, "a|sub/b", r"\g<0>")
    assert (tmp_path / "a").read_bytes() == b"mine" and not (tmp_path / "c").exists()
    assert (tmp_path / "sub" / "b").read_bytes() == b"new"


def packed(make, source: Path, pattern: str, prefix="") -> bytes:
    """An archive of files of a folder, under their names below it."""
    paths = [path for path in source.glob(pattern) if path.is_file()]
    files = {f"{prefix}{path.relative_to(source)}": path.read_bytes() for path in paths}
    return make(source / "x", files).read_bytes()


@pytest.fixture(scope="module")
def published(world, tmp_path_factory) -> dict[str, bytes]:
    """Small archives of the same layout as the real ones, by the file name of their URL."""
    place = shutil.copytree(world, tmp_path_factory.mktemp("published") / "w")
    lists = place / "VOCdevkit" / "VOC2010" / "ImageSets" / "Main"
    shutil.copytree(world / "context", lists, ignore=lambda *_: ["trainval", "labels.txt"])
    (place / "VOCdevkit" / "VOC2012" / "unwanted.xml").touch()
    write_sbd(place / "dataset", {"2008_000001": np.full((40, 50), 12, np.uint8)})
    coco = cocostuff.ensure(place)
    words = [w.encode() + b" " + np.float32([1, 2, 3]).tobytes() for w in ("cow", "unwanted")]
    return {
        "VOCtrainval_11-May-2012.tar": packed(archive, place, "VOCdevkit/VOC2012/**/*"),
        "VOCtrainval_03-May-2010.tar": packed(archive, place, "VOCdevkit/VOC2010/**/*"),
        "benchmark.tgz": packed(archive, place, "dataset/*/*", "benchmark_RELEASE/"),
        "train_noval.txt": (place / "dataset" / "train_noval.txt").read_bytes(),
        "trainval.tar.gz": packed(archive, place / "context", "trainval/*"),
        "stuffthingmaps_trainval2017.zip": packed(zipped, coco / "annotations", "*/*.png"),
        "train2017.zip": packed(zipped, coco / "images", "train2017/*.jpg"),
        "val2017.zip": packed(zipped, coco / "images", "val2017/*.jpg"),
        "resnet101-63fe2227.pth": b"resnet101",
        "mobilenet_v2-b0353104.pth": b"mobilenet",
        "word2vec-google-news-300.gz": gzip.compress(b"2 3\n" + b"".join(words)),
    }


@pytest.fixture
def root(server, published, tmp_path, monkeypatch) -> Path:
    """The data folder; every address of the list is the server's, every checksum its files'."""
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


def test_everything_comes_once_and_is_what_the_readers_read(root, server, capsys, world):
    assert cli(["data", "--only-list", "--root", str(root)]) == 0
    told = capsys.readouterr().out
    assert "SBD: 1.4 GB to download" in told and "COCO" not in told and server.asked == []
    download.main("paper", DATASETS, root)
    assert VOC(root, "train").ids[-1] == "2008_000001" and len(VOC(root, "train")) == 25
    for part in ("train", "val"):
        ours, theirs = Context(root, part), Context(world, part)
        assert ours.ids == theirs.ids and (ours.load_mask(0) == theirs.load_mask(0)).all()
        coco = CocoStuff(root, part)
        assert len(coco) == len(theirs) and coco.load(0)[0] == theirs.load(0)[0]
    assert (root / "weights" / "resnet101_imagenet.pth").read_bytes() == b"resnet101"
    assert not (root / "VOCdevkit" / "VOC2012" / "unwanted.xml").exists()
    assert list((root / "downloads").iterdir()) == []
    assert len(server.asked) == len(set(server.asked)) == 10
    download.main("paper", DATASETS, root)
    assert "Everything is there" in capsys.readouterr().out and len(server.asked) == 10


def test_what_is_on_disk_is_used_as_it_is(root, server, world):
    shutil.copytree(world, root)
    (root / "weights").mkdir()
    (root / "weights" / "resnet101_imagenet.pth").write_bytes(b"mine")
    download.main("paper", in_grid(), root)
    wanted = ["/benchmark.tgz", "/train_noval.txt", "/word2vec-google-news-300.gz"]
    assert sorted(server.asked) == wanted
    assert (root / "weights" / "resnet101_imagenet.pth").read_bytes() == b"mine"
    shutil.rmtree(root / "sbd")
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt").write_text("")
    download.main("paper", in_grid(), root)
    assert len(server.asked) == 3, "a devkit with SegmentationClassAug needs no SBD"


def test_a_file_put_there_by_hand_is_unpacked_and_a_wrong_one_told(root, server, published):
    (root / "downloads").mkdir(parents=True)
    name = "VOCtrainval_11-May-2012.tar"
    (root / "downloads" / name).write_bytes(published[name])
    (root / "downloads" / "benchmark.tgz").write_bytes(b"half of it")
    server.files["/resnet101-63fe2227.pth"] = b"a page of a proxy"
    with pytest.raises(ZS3Error) as error:
        download.main("paper", ["voc"], root)
    for file in ("downloads/benchmark.tgz", "weights/resnet101_imagenet.pth.part"):
        assert f"{root / file} is not the file of {server.url}" in str(error.value)
    assert "2 of 5 could not be had" in str(error.value) and f"/{name}" not in server.asked
    assert len(VOC(root, "val")) == 8, "the rest was fetched all the same"


def test_an_unpacking_of_coco_stuff_that_was_cut_goes_on(root, server, published):
    half = root / "cocostuff" / "images" / "train2017"
    half.mkdir(parents=True)
    (half / "000000000003.jpg").write_bytes(b"mine")
    (root / "downloads").mkdir()
    (root / "downloads" / "train2017.zip").write_bytes(published["train2017.zip"])
    with pytest.raises(ZS3Error, match="no annotations/train2017 .*PROFILE=paper DATASETS=cocos"):
        CocoStuff(root, "train")
    assert cli(["data", "--datasets", "cocostuff", "--root", str(root)]) == 0
    assert len(CocoStuff(root, "train")) == 24 and "/train2017.zip" not in server.asked
    assert (half / "000000000003.jpg").read_bytes() == b"mine"
    (root / "cocostuff" / "images").rename(root / "images")
    assert len(CocoStuff(root, "val")) == 8, "each may lie beside the folder cocostuff"
    assert download.main("paper", ["cocostuff"], root) and len(server.asked) == 4


SPOILED = {"no network": "connect", "no curl": "curl is not installed", "a file": "Not a directory"}


@pytest.mark.parametrize("why", SPOILED)
def test_one_line_lists_the_addresses_and_where_the_files_go(root, server, monkeypatch, why):
    if why == "no network":
        server.shutdown()
        server.server_close()
    elif why == "no curl":
        monkeypatch.setenv("PATH", "")
    else:
        root.write_text("in the folder's place")
    with pytest.raises(ZS3Error) as error:
        download.main("paper", DATASETS, root)
    line = str(error.value)
    assert "by hand" in line and SPOILED[why] in line and "\n" not in line
    assert f"{server.url}/train_noval.txt -> {root}/sbd/train_noval.txt (" in line
    assert f"trainval.tar.gz -> {root}/downloads/pascal-context-trainval.tar.gz (" in line


def test_lite_gets_its_backbone_and_the_words_of_the_classes(root, server, tmp_path):
    download.main("lite", ["voc"], root)
    assert (root / "weights" / "mobilenet_v2_imagenet.pth").is_file()
    assert (root / "wordvectors.txt").read_text().splitlines() == ["1 3", "cow 1.0 2.0 3.0"]
    shutil.rmtree(tmp_path / "gensim")
    count = len(server.asked)
    download.main("lite", ["voc"], root)
    assert len(server.asked) == count, "the excerpt is enough"


def test_addresses_and_checksums_are_torchvisions(tmp_path):
    items = download.catalogue("paper", DATASETS, tmp_path)
    items += download.catalogue("lite", (), tmp_path)
    found = {(item.url, item.row.get("md5", item.row.get("sha256"))) for item in items}
    theirs = {(DATASET_YEAR_DICT[y]["url"], DATASET_YEAR_DICT[y]["md5"]) for y in ("2010", "2012")}
    theirs |= {(SBDataset.url, SBDataset.md5), (SBDataset.voc_train_url, SBDataset.voc_split_md5)}
    for entry in (models.ResNet101_Weights, models.MobileNet_V2_Weights):
        url = entry.IMAGENET1K_V1.url
        theirs.add((url, url.rpartition("-")[2].removesuffix(".pth")))
    assert theirs <= found
