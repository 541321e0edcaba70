"""Nothing that is loaded runs code, nothing named lands outside its folder, lab stays at home."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
import torch

from zs3lib import ZS3Error, load_heads
from zs3lib.storage import inside, plain_name

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for part in ("zs3lib", "tests/benchmarks") for p in (ROOT / part).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Call (its last two names; ".x" is any method x) -> the keyword that makes it safe, and its value.
NEEDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    ".extractall": ("filter", "data"),
    ".extract": ("filter", "data"),
    ".unpack_archive": ("filter", "data"),
    "yaml.load": ("Loader", "SafeLoader"),
}
NEVER = set(
    "eval exec compile __import__ os.system os.popen read_pickle hub.load yaml.unsafe_load "
    "yaml.full_load KeyedVectors.load Word2Vec.load load_state_dict_from_url add_safe_globals "
    "extract_archive download_and_extract_archive".split()
)
FLAGS = {"allow_pickle": True, "weights_only": False, "shell": True, "trust_remote_code": True}


def called(function: ast.expr) -> str:
    """The last two names of what is called: `torch.serialization.load(...)`: serialization.load."""
    names = []
    while isinstance(function, ast.Attribute):
        names.append(function.attr)
        function = function.value
    names.append(function.id if isinstance(function, ast.Name) else "")
    return ".".join(reversed(names[:2]))


def unsafe_import(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names]
    module = getattr(node, "module", None)
    found = [m for m in ([module or ""] if module else names) if m.split(".")[0] in PICKLES]
    if module in ("torch", "numpy", "os", "yaml"):  # under a name of its own it would go unseen
        found += [name for name in names if name in ("load", "system", "popen")]
    return found


def unsafe_call(node: ast.Call, filters: set[str]) -> list[str]:
    name = called(node.func)
    last = name.split(".")[-1]
    keywords = {k.arg: k.value for k in node.keywords}
    found = [
        f"{name}({flag}={value})"
        for flag, value in FLAGS.items()
        if flag in keywords and getattr(keywords[flag], "value", not value) == value
    ]
    if name in NEVER or last in NEVER - {"eval", "compile"}:
        return [*found, name]
    need = NEEDS.get(name) or NEEDS.get(f".{last}" if "." in name else "")
    if need:
        given = keywords.get(need[0])
        name_given = getattr(given, "attr", getattr(given, "id", "")).removeprefix("NoDates")
        value = given.value if isinstance(given, ast.Constant) else name_given
        found += [f"{name} without {need[0]}={need[1]}"] * (value not in {need[1], *filters})
    return found


def unsafe(source: str) -> list[str]:
    """What in Python source may run code that is read from a file, or write outside a folder."""
    found = []
    nodes = list(ast.walk(ast.parse(source)))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    filters = {f.name for f in functions if "tarfile.data_filter(" in ast.unparse(f)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += unsafe_import(node)
        elif isinstance(node, ast.Call):
            found += unsafe_call(node, filters)
    return found


def code(path: Path) -> str:
    """A Python file, or a notebook's cells without magics."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    lines = "\n".join(cells).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


@pytest.mark.parametrize("path", [*SOURCES, *NOTEBOOKS], ids=lambda p: p.name)
def test_no_file_loads_code_or_unpacks_outside_its_folder(path):
    assert unsafe(code(path)) == []


UNSAFE = """
torch.load(path)
torch.load(path, weights_only=False)
torch.load(path, weights_only=safe)
torch.hub.load(a, b)
torch.hub.load_state_dict_from_url(url)
torch.serialization.add_safe_globals([f])
np.load(path)
numpy.load(path, allow_pickle=True)
np.lib.format.read_array(file, allow_pickle=True)
import pickle
from pickle import loads
import joblib
from torch import load
eval(text)
exec(text)
__import__(name)
yaml.load(text)
yaml.load(text, Loader=yaml.Loader)
os.system(text)
subprocess.run(text, shell=True)
archive.extractall(folder)
archive.extractall(folder, filter='fully_trusted')
tar.extract(member, folder)
shutil.unpack_archive(a, b)
pd.read_pickle(path)
KeyedVectors.load(path)
gensim.models.KeyedVectors.load(path, mmap='r')
torchvision.datasets.utils.download_and_extract_archive(url, root)
""".strip().splitlines()
SAFE = """
torch.load(path, map_location='cpu', weights_only=True)
np.load(path, allow_pickle=False)
yaml.load(text, Loader=yaml.SafeLoader)
archive.extractall(folder, filter='data')
tar.extract(member, folder, filter='data')
json.load(file)
build().eval()
re.compile(pattern)
torch.compile(loss)
""".strip().splitlines()


@pytest.mark.parametrize("line", UNSAFE)
def test_an_unsafe_line_would_be_found(line):
    assert unsafe(f"def f():\n    {line}\n")


@pytest.mark.parametrize("line", SAFE)
def test_a_safe_line_is_let_pass(line):
    assert unsafe(line) == []


# ---- names and paths ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["toy", "word2vec-google-news-300", "v1.2_x"])
def test_plain_names(name):
    assert plain_name(name, "profile") == name


BAD_NAMES = ["../x", "a/b", "..", "", "/etc", "a\\b", ".hidden", "a\nb", "a\0b", None, 3, "a..b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_plain_name(name):
    with pytest.raises(ZS3Error, match="profile is"):
        plain_name(name, "profile")


@pytest.mark.parametrize(
    "relative", ["../x.pt", "/etc/passwd", "backbones/../../x.pt", "link/x.pt", None, 3]
)
def test_a_path_in_a_file_stays_below_its_folder(tmp_path, relative):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path)
    with pytest.raises(ZS3Error, match="heads.pt names the file"):
        inside(tmp_path / "runs", relative, Path("heads.pt"))
    good = inside(tmp_path / "runs", "backbones/a/backbone.pt", Path("heads.pt"))
    assert good.name == "backbone.pt"


def test_heads_that_name_a_backbone_elsewhere_are_refused(tmp_path, settings):
    folder = tmp_path / "toy" / "voc-k2-s0"
    folder.mkdir(parents=True)
    torch.save({"model": {}}, tmp_path / "other.pt")
    torch.save({"heads": {}, "backbone": "../other.pt"}, folder / "heads.pt")
    with pytest.raises(ZS3Error, match=r"heads.pt names the file '../other.pt', which is not"):
        load_heads(folder, settings(), 21)


def test_nothing_opens_jupyterlab_to_the_network():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--ServerApp.ip=127.0.0.1" in makefile and "allow_remote_access=False" in makefile
    wide = ("token=''", 'token=""', "disable_check_xsrf", "ip=0.0.0.0", "ip='*'")
    for path in [ROOT / "Makefile", ROOT / "README.md", *SOURCES, *NOTEBOOKS]:
        assert not any(word in path.read_text(encoding="utf-8") for word in wide), path
