"""Runs share out the GPUs of a machine; CUDA is faked, the locks are real."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from zs3lib import Run
from zs3lib.runs.devices import alone_on, device_of

HOLDER = "import sys, filelock as f; held = f.FileLock(sys.argv[1]).acquire(); print(); input()"


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Make so many GPUs visible, of the names given."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    empty = torch.empty

    def fake_empty(*size, device=None, **how):
        on_gpu = torch.device(device or "cpu").type == "cuda"
        return SimpleNamespace(device=torch.device(device)) if on_gpu else empty(*size, **how)

    def visible(*uuids: str) -> None:
        properties = [SimpleNamespace(uuid=uuid) for uuid in uuids]
        fakes = {
            "is_available": lambda: bool(uuids),
            "device_count": lambda: len(uuids),
            "get_device_properties": lambda device: properties[torch.device(device).index],
            "set_device": lambda device: None,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch, "empty", fake_empty)

    return visible


@pytest.fixture
def another_run(tmp_path):
    """Start a process that holds the GPU of a name, until it is killed."""
    processes = []

    def hold(uuid: str) -> subprocess.Popen:
        (lock,) = tmp_path.glob(f"zs3lib-*-{uuid}.lock")
        words = [sys.executable, "-c", HOLDER, str(lock)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        processes.append(process)
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def computes_on(name: str) -> str:
    with alone_on(device_of(name)) as device:
        return str(device)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_run_takes_the_first_free_gpu_and_no_other_where_one_is_named(gpus, another_run, name):
    gpus("a", "b", "c")
    with (
        alone_on(device_of(name)) as first,
        alone_on(device_of(name)) as second,
        alone_on(device_of("cuda:2")) as third,
    ):
        assert [str(d) for d in (first, second, third)] == ["cuda:0", "cuda:1", "cuda:2"]
    held = another_run("a")
    assert computes_on(name) == "cuda:1"
    gpus("b", "a")  # as CUDA_VISIBLE_DEVICES=1,0 shows them: a GPU is not its number
    assert computes_on(name) == "cuda:0"
    gpus("a", "b")
    held.kill()  # whoever is killed holds nothing
    held.wait()
    assert computes_on(name) == "cuda:0"


def test_where_none_is_free_a_run_takes_whichever_is_free_first(gpus, another_run, capsys):
    gpus("a", "b")
    with alone_on(device_of("auto")), alone_on(device_of("auto")):
        pass
    another_run("a")
    second = another_run("b")
    found = []
    waiting = threading.Thread(target=lambda: found.append(computes_on("auto")))
    waiting.start()
    waiting.join(2.5)
    assert waiting.is_alive()
    second.kill()
    waiting.join()
    assert found == ["cuda:1"]
    said = "another run computes on cuda:0, cuda:1: waiting for a free GPU\n"
    assert capsys.readouterr().out == said


def test_a_run_stays_on_its_gpu(gpus, another_run, settings, tmp_path):
    run = Run(settings(), runs_root=tmp_path / "runs", cache_root=tmp_path / "cache")
    gpus("a", "b")
    run.device = device_of("auto")
    with alone_on(torch.device("cuda:0")):
        with run._working_in(tmp_path / "runs" / "stage 1", "stage1"):
            assert str(run.device) == "cuda:1"
    with run._working_in(tmp_path / "runs" / "stage 2", "stage2"):  # cuda:0 is free by now
        assert str(run.device) == "cuda:1"


def test_a_cpu_is_nobodys_alone():
    cpu = device_of("cpu")
    with alone_on(cpu) as first, alone_on(cpu) as second:
        assert first == second == cpu
