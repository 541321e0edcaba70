"""Nothing that is loaded runs code, nothing named lands outside its folder, lab stays at home."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
import torch

from zs3lib import ZS3Error, load_heads

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for part in ("zs3lib", "tests/benchmarks") for p in (ROOT / part).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEVER = re.compile(
    r"\b(c?pickle|_pickle|dill|cloudpickle|joblib|shelve|marshal|read_pickle|unsafe_load|full_load"
    r"|add_safe_globals|unpack_archive|extract_archive|download_and_extract_archive)\b"
    r"|(?<![\w.])(eval|exec|__import__)\(|\bos\.(system|popen)\(|\bhub\.load|from torch import load"
    r"|(KeyedVectors|Word2Vec)\.load\(|(allow_pickle|shell|trust_remote_code)=True|fully_trusted"
)
# Call -> what makes it safe.
NEEDS = {
    r"\btorch\.(serialization\.)?load\(": "weights_only=True",
    r"\b(np|numpy)\.load\(": "allow_pickle=False",
    r"\.extract(all)?\(": "filter=",
    r"\byaml\.load\(": "SafeLoader",
}


def unsafe(source: str) -> list[str]:
    """What in Python source may run code that is read from a file, or write outside a folder."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            text = f"{ast.unparse(node.func)}({', '.join(map(ast.unparse, node.keywords))})"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
        else:
            continue
        bare = any(re.search(call, text) and need not in text for call, need in NEEDS.items())
        found += [text] * (bare or bool(NEVER.search(text)))
    return found


@pytest.mark.parametrize("path", [*SOURCES, *NOTEBOOKS], ids=lambda p: p.name)
def test_no_file_loads_code_or_unpacks_outside_its_folder(path):
    text = path.read_text(encoding="utf-8")
    if path in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.reads(text, 4).cells if cell.cell_type == "code"]
        text = re.sub(r"^\s*[%!].*$", "", "\n".join(cells), flags=re.M)
    assert unsafe(text) == []


UNSAFE = """
torch.load(path, weights_only=False)
torch.hub.load(a, b)
np.load(path)
from pickle import loads
eval(text)
yaml.load(text, Loader=yaml.Loader)
subprocess.run(text, shell=True)
archive.extractall(folder)
KeyedVectors.load(path)
""".strip().splitlines()
SAFE = """
torch.load(path, map_location='cpu', weights_only=True)
yaml.load(text, Loader=yaml.SafeLoader)
tar.extractall(folder, filter='data')
build().eval()
""".strip().splitlines()


def test_an_unsafe_line_would_be_found_and_a_safe_one_is_let_pass():
    assert [line for line in UNSAFE if not unsafe(line)] == []
    assert [line for line in SAFE if unsafe(line)] == []


# ---- names and paths ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "relative", ["../x.pt", "/etc/passwd", "backbones/../../x.pt", "link/x.pt", None, 3]
)
def test_heads_that_name_a_backbone_elsewhere_are_refused(relative, tmp_path, settings):
    folder = tmp_path / "toy" / "voc-k2-s0"
    folder.mkdir(parents=True)
    (tmp_path / "toy" / "link").symlink_to(tmp_path)
    torch.save({"model": {}}, tmp_path / "x.pt")
    torch.save({"heads": {}, "backbone": relative}, folder / "heads.pt")
    says = (
        f"names the file '{relative}', which is not" if isinstance(relative, str) else "is not of"
    )
    with pytest.raises(ZS3Error, match=f"heads.pt {says}"):
        load_heads(folder, settings(), 21)


def test_nothing_opens_jupyterlab_to_the_network():
    wide = ("token=''", 'token=""', "disable_check_xsrf", "ip=0.0.0.0", "ip='*'")
    for path in [ROOT / "Makefile", ROOT / "README.md", *SOURCES, *NOTEBOOKS]:
        assert not any(word in path.read_text(encoding="utf-8") for word in wide), path
