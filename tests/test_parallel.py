"""Stage 1 in two processes is that of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
from crafted import pictures, tiny
from tiny import EPOCHS, TINY
from torch import multiprocessing, nn
from torch.testing import assert_close

from zs3lib import Run, parallel
from zs3lib.method import stage1
from zs3lib.method.deeplab import build
from zs3lib.storage import Checkpoint

CHOICES = {"mean": {}, "zs3net": {"stage1_loss": "zs3net", "stage1_lr": 0.02}}
CPU = torch.device("cpu")


class Share:
    """Of each batch of five what this process is to see."""

    def __init__(self):
        self.whole = pictures(size=5)
        self.batches = self.whole.batches
        self.ids = self.whole.ids

    def epoch(self, epoch):
        rank, count = parallel.ranks()
        for images, labels in self.whole.epoch(epoch):
            yield images[rank::count], labels[rank::count]


def without_batches(network: nn.Module) -> nn.Module:
    """Norms of each image alone: torch has no batch norm over processes on a CPU."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
    return network


def trained(folder, changes) -> dict:
    """The losses of two epochs and the weights after them."""
    settings = tiny(stage1_epochs=2, stage1_optimiser="sgd", amp=False, **changes)
    torch.manual_seed(0)
    network = without_batches(build(settings, 21))
    path = folder / f"{parallel.ranks()[0]}.pt"
    given = {"device": CPU, "checkpoint": Checkpoint(path, "key")}
    losses = stage1.train(network, Share(), settings, **given)
    return {"losses": losses, "weights": network.state_dict(), "saved": path.exists()}


def work(rank: int, port: int, folder) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    with parallel.processes():
        for name, changes in CHOICES.items():
            (folder / name).mkdir(exist_ok=True)
            torch.save(trained(folder / name, changes), folder / f"{name}-{rank}.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes found."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (port, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CHOICES)
def test_two_processes_learn_what_one_does(both, tmp_path, name):
    expected = trained(tmp_path, CHOICES[name])
    assert expected["losses"][0] != expected["losses"][1]
    for rank in (0, 1):
        found = torch.load(both / f"{name}-{rank}.pt")
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)
        assert_close(found["weights"], expected["weights"], rtol=1e-4, atol=1e-5)
        assert found["saved"] == (rank == 0)  # one writes for both


def test_torchrun_trains_stage_1_for_the_run(settings, places, tmp_path, monkeypatch):
    given = places | EPOCHS | {"options": TINY}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += ["-m", "zs3lib", "stage1", str(tmp_path / "runs" / "toy" / "voc-k10-s0")]
    command += [word for item in given.items() for word in ("-y", "{}: {}".format(*item))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    run = Run(settings(k=10), runs_root=tmp_path / "runs", cache_root=tmp_path / "cache")
    monkeypatch.setattr(stage1, "train", lambda *a, **k: pytest.fail("stage 1 trained again"))
    assert len(run.train_backbone()) == 1
    assert done.stdout.splitlines().count(str(run.backbone_folder / "backbone.pt")) == 2
