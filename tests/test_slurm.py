"""A real Slurm of two nodes, both on this machine: trainings go there, one is killed and redone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from zs3lib import Run

CONFIGURATION = """
ClusterName=zs3
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdPidFile={root}/%n.pid
SlurmdLogFile={root}/%n.log
SlurmdSpoolDir={root}/%n
StateSaveLocation={root}/state
SlurmUser=root
AuthInfo=socket={root}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=2
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=two Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
GRID = ("DATASETS=voc", "K=9 10", "SEED=0 1")
LAUNCH = "LAUNCH=srun -n1 env OMP_NUM_THREADS=1"


def free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def slurm():
    """Ask this Slurm with a command of its own: slurm("squeue", ...) -> lines."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    daemons = {name: shutil.which(name, path=path) for name in ("munged", "slurmctld", "slurmd")}
    if missing := [name for name, found in daemons.items() if not found]:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons need root")
    with tempfile.TemporaryDirectory(prefix="slurm-") as root:
        os.chmod(root, 0o755)  # munged wants its socket to be in reach of all
        yield from two_nodes(Path(root), daemons)


def two_nodes(root: Path, daemons: dict[str, str]):
    """Slurm while it runs, its files in a folder."""
    (root / "state").mkdir()
    (root / "slurm.conf").write_text(CONFIGURATION.format(root=root, ports=free_ports(3)))
    (root / "munge.key").write_bytes(os.urandom(1024))
    (root / "munge.key").chmod(0o400)
    env = os.environ | {"SLURM_CONF": str(root / "slurm.conf")}
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
    files = [f"--{option}={root}/munge.{name}" for option, name in files.items()]
    commands = [
        [daemons["munged"], "--foreground", f"--log-file={root}/munged.log", *files],
        [daemons["slurmctld"], "-D", "-c"],
        [daemons["slurmd"], "-D", "-N", "n1"],
        [daemons["slurmd"], "-D", "-N", "n2"],
    ]

    def ask(*words: str) -> list[str]:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines()

    ask.env = {"SLURM_CONF": env["SLURM_CONF"]}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    processes = []
    try:
        for command in commands:
            with open(root / "daemons.log", "a") as log:
                processes.append(subprocess.Popen(command, env=env, stderr=log, **quiet))
            if not wait_for(lambda: (root / "munge.socket").exists()):
                break
        if not wait_for(lambda: ask("sinfo", "-h", "-o", "%D %t") == ["2 idle"]):
            errors = (root / "daemons.log").read_text().splitlines()
            pytest.skip(f"Slurm does not start: {errors[-1] if errors else 'nothing is said'}")
        yield ask
        ask("scancel", "--state=RUNNING")
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


def wait_for(what, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def numbers(path: Path) -> dict:
    """What a record says of the method; not when, where and how fast."""
    record = json.loads(path.read_text())
    return {name: record[name] for name in ("settings", "methods", "history", "keys", "inputs")}


@pytest.mark.timeout(1800)  # nine trainings and a figure
def test_a_grid_on_two_nodes_is_what_one_machine_makes(
    slurm, checkout, make, tiny_params, settings, tmp_path
):
    tables = ("tables", "-j4", LAUNCH, tiny_params, *GRID)
    cancelled = []

    def scancel(process: subprocess.Popen) -> None:
        nodes = dict(line.split() for line in slurm("squeue", "-h", "-t", "R", "-o", "%N %i"))
        assert set(nodes) == {"n1", "n2"}  # both work
        waiting = slurm("squeue", "-h", "-t", "PD", "-o", "%i")
        assert len(waiting) == 2
        cancelled.append(nodes["n1"])
        slurm("scancel", nodes["n1"])

    stopped = make(*tables, interrupt="runs/toy/backbones/*/*.pt", how=scancel, env=slurm.env)
    assert stopped.returncode != 0 and "Traceback" not in stopped.stderr
    (killed,) = slurm("scontrol", "show", "-o", "job", *cancelled)
    assert "JobState=CANCELLED" in killed
    first = {path: path.stat().st_mtime_ns for path in checkout.rglob("metrics.json")}
    assert len(first) < 4

    done = make(*tables, env=slurm.env)
    assert done.returncode == 0, done.stderr
    assert "ZS3Net" in done.stdout and (checkout / "figures" / "toy" / "fig3.png").is_file()
    records = sorted(checkout.rglob("metrics.json"))
    assert len(records) == 4
    assert all(path.stat().st_mtime_ns == moment for path, moment in first.items())
    jobs = slurm("scontrol", "show", "-o", "jobs")
    assert len(jobs) == 8 - len(first)  # tables and figures are made here
    assert sum("JobState=COMPLETED" in job for job in jobs) == 4

    for path in records:
        k, seed = path.parent.name.removeprefix("voc-k").split("-s")
        run = Run(settings(k=int(k), seed=int(seed)), runs_root=tmp_path, cache_root=tmp_path)
        run.train_backbone()
        run.train_heads()
        run.evaluate()
        assert numbers(path) == numbers(run.save())
