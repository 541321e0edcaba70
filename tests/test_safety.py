"""Nothing that is loaded runs code, nothing unpacked or named lands outside its folder, JupyterLab stays at home."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import nbformat
import pytest
import torch

from zs3lib import ZS3Error, load_heads
from zs3lib.paths import inside, plain_name

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for part in ("zs3lib", "benchmarks") for p in (ROOT / part).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Call (its last two names; ".x" is any method x) -> the keyword that makes it safe, and the value that does.
NEEDS = {
    "torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False),
    ".extractall": ("filter", "data"), ".extract": ("filter", "data"), ".unpack_archive": ("filter", "data"),
    "yaml.load": ("Loader", "SafeLoader"),
}  # fmt: skip
NEVER = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle", "hub.load",
    "yaml.unsafe_load", "yaml.full_load", "KeyedVectors.load", "Word2Vec.load", "load_state_dict_from_url",
    "serialization.add_safe_globals", "extract_archive", "download_and_extract_archive",
}  # fmt: skip
FLAGS = {"allow_pickle": True, "weights_only": False, "shell": True, "trust_remote_code": True}


def called(function: ast.expr) -> str:
    """The last two names of what is called: `torch.serialization.load(...)` is "serialization.load"."""
    names = []
    while isinstance(function, ast.Attribute):
        names.append(function.attr)
        function = function.value
    names.append(function.id if isinstance(function, ast.Name) else "")
    return ".".join(reversed(names[:2]))


def unsafe(source: str) -> list[str]:
    """What in Python source may run code that is read from a file, or write outside a folder."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"line {node.lineno}: import {m}" for m in modules if m.split(".")[0] in PICKLES]
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy", "os", "yaml"):
                loads = [a.name for a in node.names if a.name in ("load", "system", "popen")]
                found += [f"line {node.lineno}: {name} under a name of its own" for name in loads]
        if not isinstance(node, ast.Call):
            continue
        name, keywords = called(node.func), {k.arg: k.value for k in node.keywords}
        for flag, value in FLAGS.items():
            if flag in keywords and getattr(keywords[flag], "value", not value) == value:
                found.append(f"line {node.lineno}: {name}({flag}={value})")
        last = name.split(".")[-1]
        if name in NEVER or (last in NEVER and last not in ("eval", "compile")):
            found.append(f"line {node.lineno}: {name}")
        elif need := NEEDS.get(name) or NEEDS.get(f".{last}" if "." in name else ""):
            given = keywords.get(need[0])
            value = given.value if isinstance(given, ast.Constant) else getattr(given, "attr", None)
            if value != need[1]:
                found.append(f"line {node.lineno}: {name} without {need[0]}={need[1]}")
    return found


def code(notebook: Path) -> str:
    cells = [cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in "\n".join(cells).splitlines())


@pytest.mark.parametrize("path", [*SOURCES, *NOTEBOOKS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_file_loads_code_or_unpacks_outside_its_folder(path):
    assert unsafe(code(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=safe)", "np.load(path)",
        "numpy.load(path, allow_pickle=True)", "np.lib.format.read_array(file, allow_pickle=True)", "import pickle",
        "from pickle import loads", "import joblib", "from torch import load", "eval(text)", "exec(text)", "__import__(name)",
        "yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "archive.extractall(folder)", "os.system(text)",
        "archive.extractall(folder, filter='fully_trusted')", "shutil.unpack_archive(a, b)", "pd.read_pickle(path)",
        "KeyedVectors.load(path)", "gensim.models.KeyedVectors.load(path, mmap='r')", "torch.hub.load(a, b)",
        "subprocess.run(text, shell=True)", "torch.hub.load_state_dict_from_url(url)", "tar.extract(member, folder)",
        "torchvision.datasets.utils.download_and_extract_archive(url, root)",
        "torch.serialization.add_safe_globals([f])",
    ],
)  # fmt: skip
def test_an_unsafe_line_would_be_found(line):
    assert all(problem.startswith("line 2: ") for problem in unsafe(f"def f():\n    {line}\n"))
    assert unsafe(f"def f():\n    {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, map_location='cpu', weights_only=True)", "np.load(path, allow_pickle=False)", "build().eval()",
        "yaml.load(text, Loader=yaml.SafeLoader)", "archive.extractall(folder, filter='data')", "re.compile(pattern)",
        "tar.extract(member, folder, filter='data')", "json.load(file)", "extract(model, images)",
    ],
)  # fmt: skip
def test_a_safe_line_is_let_pass(line):
    assert unsafe(line) == []


# ---- names and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "/etc", "a\\b", ".hidden", "a\nb", "a\0b", None, 3, "a..b"])
def test_what_is_no_plain_name(name):
    with pytest.raises(ZS3Error, match="profile is"):
        plain_name(name, "profile")


@pytest.mark.parametrize("name", ["toy", "word2vec-google-news-300", "v1.2_x"])
def test_plain_names(name):
    assert plain_name(name, "profile") == name


@pytest.mark.parametrize("relative", ["../x.pt", "/etc/passwd", "backbones/../../x.pt", "link/x.pt", None, 3])
def test_a_path_in_a_file_stays_below_its_folder(tmp_path, relative):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path)
    with pytest.raises(ZS3Error, match="heads.pt names the file"):
        inside(tmp_path / "runs", relative, Path("heads.pt"))
    assert inside(tmp_path / "runs", "backbones/a/backbone.pt", Path("heads.pt")).name == "backbone.pt"


def test_heads_that_name_a_backbone_elsewhere_are_refused(tmp_path, settings):
    folder = tmp_path / "toy" / "voc-k2-s0"
    folder.mkdir(parents=True)
    torch.save({"model": {}}, tmp_path / "other.pt")
    torch.save({"heads": {}, "backbone": "../other.pt"}, folder / "heads.pt")
    with pytest.raises(ZS3Error, match=r"heads.pt names the file '../other.pt', which is not below"):
        load_heads(folder, settings(), 21)


# ---- JupyterLab -----------------------------------------------------------------------------------------------------


def test_jupyterlab_stays_on_this_machine_with_its_token():
    done = subprocess.run(
        ["make", "-n", "lab", "READY=Makefile"], cwd=ROOT, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--ServerApp.ip=127.0.0.1" in done.stdout and "allow_remote_access=False" in done.stdout
    files = [ROOT / "Makefile", ROOT / "README.md", *SOURCES, *NOTEBOOKS]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not any(
            word in text for word in ("token=''", 'token=""', "disable_check_xsrf", "ip=0.0.0.0", "ip='*'")
        ), path
