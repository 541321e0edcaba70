"""Tables I-III from the run records, the published numbers beside the measured ones.

python -m zs3lib.tables --profile toy
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .audit import METRICS, markdown, published
from .classes import DATASETS, PAPER_KS
from .errors import ZS3Error
from .paths import RUNS, TABLES, atomic_write

HEADS = tuple((group, m) for group in ("Seen", "Unseen", "Overall") for m in ("PA", "MA", "mIoU")) + (("", "hIoU"),)
# Per table: its dataset, and the method in the records behind each of the paper's two model names.
SPECS = {
    "I": ("voc", {"ZS3Net": "zs3net", "Ours": "ours"}, "Pascal-VOC 2012"),
    "II": ("context", {"ZS3Net": "zs3net", "Ours": "ours"}, "Pascal-Context"),
    "III": ("voc", {"Equal Weight": "equal_weight", "Final": "ours"}, "Ablation on Pascal-VOC 2012"),
}
SETTING = {
    "toy": "Generated toy images and a small backbone: NOT the paper's setting. The published numbers stand beside "
    "the measured ones for orientation; they are neither reproduced nor refuted here.",
    "lite": "Real VOC images with a small backbone: NOT the paper's setting, so the numbers need not agree.",
    "paper": "The paper's setting, as this repository reads it.",
}
FLOOR = (
    "Unseen mIoU in percent, mean over seeds. No generator: the same head trained without generated features, which "
    "never learns an unseen class. A dash: not measured, or a ratio to a floor of 0."
)
KEYS = {  # what a record must hold for the tables
    "profile": str, "dataset": str, "k": int, "seed": int, "protocol": str, "settings": dict, "methods": dict,
    "versions": dict, "git": dict, "device": str, "wall_s": (int, float), "stage1_images": int, "train_images": int,
    "val_images": int, "data_fingerprint": str,
}  # fmt: skip
# Settings in which the runs of one table may differ: what the row is, where things lie, and what it ran on.
FREE = {
    "dataset", "k", "seed", "methods", "tau", "gamma", "device", "threads", "workers",
    "data_root", "runs_root", "cache_root", "weights", "word_vectors",
}  # fmt: skip


def read_records(runs_dir: Path | str, profile: str, seeds: Iterable[int] | None = None) -> list[dict]:
    """Every `<runs_dir>/<profile>/<dataset>-k<K>-s<seed>/metrics.json`, sorted; only `seeds` when given.

    Raises ZS3Error, naming the file, for one that is not a whole and finite record of that run.
    """
    records = []
    for path in sorted(Path(runs_dir, profile).glob("*/metrics.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ZS3Error(f"{path} is not valid JSON ({error}): remove its folder and run it again") from None
        problem = _problem(record) or (name(record) != f"{profile}/{path.parent.name}" and f"holds {name(record)}")
        if problem:
            raise ZS3Error(f"{path}: {problem}; remove its folder and run it again")
        records.append(record)
    kept = records if seeds is None else [r for r in records if r["seed"] in set(seeds)]
    return sorted(kept, key=lambda r: (DATASETS.index(r["dataset"]), r["k"], r["seed"]))


def listed(value: object, kind: type = str) -> list | None:
    """A list parameter as make and papermill hand it over: 6, "6 10", [6, 10] or None -> list of `kind` or None."""
    words = value.split() if isinstance(value, str) else [value] if isinstance(value, int) else value
    try:
        return [kind(word) for word in words] if words else None
    except ValueError:
        raise ZS3Error(f"{value!r} is not a list of numbers such as '6 10'") from None


def select(records: list[dict], ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None) -> list[dict]:
    """The records of these K and datasets; None or empty: all."""
    return [r for r in records if (not ks or r["k"] in ks) and (not datasets or r["dataset"] in datasets)]


def _problem(record: object) -> str | None:
    if not isinstance(record, dict) or record.get("schema") != 1:
        return "schema is not 1"
    for key, kind in KEYS.items():
        if not isinstance(record.get(key), kind):
            return f"'{key}' is missing or of the wrong type"
    if record["dataset"] not in DATASETS or "zs3lib" not in record["versions"] or not record["methods"]:
        return "unknown dataset, no method, or no zs3lib version"
    for method, result in record["methods"].items():
        result = result if isinstance(result, dict) else {}
        metrics, per_class = result.get("metrics"), result.get("per_class_iou")
        if not isinstance(metrics, dict) or not isinstance(per_class, dict) or not set(METRICS) <= set(metrics):
            return f"the metrics or per_class_iou of '{method}' are not whole"
        for key, value in [*metrics.items(), *per_class.items()]:
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                return f"'{key}' of '{method}' is {value!r}, not a finite number"
    return None


def name(record: dict) -> str:
    """A run's name, which is its folder below runs/: "toy/voc-k10-s0"."""
    return f"{record['profile']}/{record['dataset']}-k{record['k']}-s{record['seed']}"


def check_same_settings(records: list[dict]) -> None:
    """Refuse to mix runs of different settings: raises ZS3Error naming two runs, the setting and both values.

    All runs share profile, protocol and zs3lib version; those of one dataset the data and all settings not in FREE.
    """
    first: dict[str, dict] = {}
    for record in records:
        for scope in ("all", record["dataset"]):
            reference = first.setdefault(scope, record)
            a, b = ({key: r[key] for key in ("schema", "profile", "protocol")} for r in (reference, record))
            for values, r in ((a, reference), (b, record)):
                values["zs3lib version"] = r["versions"]["zs3lib"]
                if scope != "all":
                    values |= {key: value for key, value in r["settings"].items() if key not in FREE}
                    values["data_fingerprint"] = r["data_fingerprint"]
            for key in sorted(a | b):
                if a.get(key, "not set") != b.get(key, "not set"):
                    raise ZS3Error(
                        f"{name(reference)} and {name(record)} cannot share a table: {key} is "
                        f"{a.get(key, 'not set')!r} in one and {b.get(key, 'not set')!r} in the other"
                    )


def table(records: list[dict], which: str, ks: Iterable[int] | None = None) -> pd.DataFrame:
    """Table "I", "II" or "III" in percent: rows (K, Model), columns HEADS x (measured, std, published).

    `ks` default to the paper's five and those of the records. Measured is the mean over seeds, std their sample
    standard deviation (NaN for one seed). A run that is missing, and a K the paper has not, are NaN.
    """
    dataset, models, _ = SPECS[which]
    runs = [r for r in records if r["dataset"] == dataset]
    ks = sorted(set(ks) if ks else {*PAPER_KS, *(r["k"] for r in runs)})
    measured = pd.DataFrame(
        [
            {"K": r["k"], "Model": model, **r["methods"][method]["metrics"]}
            for r in runs for model, method in models.items() if method in r["methods"]
        ],
        columns=["K", "Model", *METRICS],
    ).groupby(["K", "Model"])  # fmt: skip
    paper = published().query("table == @which").rename(columns={"k": "K", "model": "Model"})
    sources = {
        "measured": measured.mean(),
        "std": measured.std(),
        "published": paper.set_index(["K", "Model"])[list(METRICS)],
    }
    index = pd.MultiIndex.from_product([ks, models], names=["K", "Model"])
    wide = pd.concat({source: frame.reindex(index).astype(float) for source, frame in sources.items()}, axis=1)
    heads = dict(zip(METRICS, HEADS))
    wide.columns = pd.MultiIndex.from_tuples([(*heads[metric], source) for source, metric in wide.columns])
    return wide[[(*head, source) for head in HEADS for source in sources]].rename_axis(
        columns=["Classes", "Metric", "Source"]
    )


def texts(frame: pd.DataFrame, source: str, bold: str = "{}") -> pd.DataFrame:
    """One source of a table as text, "12.3", "12.3 ± 0.4" or "-"; the better of each K's two models set by `bold`.

    Better is judged on the number as printed, so a tie sets both; a number without its partner is never bold.
    """
    values = frame.xs(source, axis=1, level="Source").map(lambda x: float(f"{x:.1f}"))
    spread = frame.xs("std", axis=1, level="Source") if source == "measured" else values * float("nan")
    by_k = values.groupby(level="K")
    best = (values == by_k.transform("max")) & (by_k.transform("count") == 2)
    shown = values.map("{:.1f}".format) + spread.map(lambda s: "" if math.isnan(s) else f" ± {s:.1f}")
    return shown.where(~best, shown.map(bold.format)).where(values.notna(), "-")


def beside(frame: pd.DataFrame, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """A table as text with the published number in parentheses behind the measured one."""
    return texts(frame, "measured", bold) + " (" + texts(frame, "published", bold) + ")"


def below(frame: pd.DataFrame, bold: str = "{}") -> pd.DataFrame:
    """A table as text with the published rows below the measured ones: rows (K, Source, Model)."""
    parts = {source: texts(frame, source, bold) for source in ("measured", "published")}
    stacked = pd.concat(parts, names=["Source"]).reorder_levels(["K", "Source", "Model"])
    ks, models = frame.index.unique("K"), frame.index.unique("Model")
    return stacked.loc[[(k, source, model) for k in ks for source in parts for model in models]]


def title(which: str, profile: str) -> str:
    """The heading of a table, naming the profile."""
    return f"Table {which}. {SPECS[which][2]}, profile {profile}"


def notes(records: list[dict], which: str, profile: str, ks: Iterable[int]) -> list[str]:
    """What a reader must know to read a table: setting, data, seeds, machine, and the command that fills each gap."""
    dataset, models, _ = SPECS[which]
    runs = [r for r in records if r["dataset"] == dataset and r["k"] in set(ks)]
    lines = [
        SETTING.get(profile, "Not the paper's setting."),
        "Percent. Bold: the higher mean of the two models at one K, measured and published apart; no test made.",
    ]
    if runs:
        lines += [_provenance(runs)]
    gaps = [str(k) for k in ks if k not in {r["k"] for r in runs}]
    if gaps:
        lines.append(f'No run yet: make tables PROFILE={profile} DATASETS={dataset} K="{" ".join(gaps)}"')
    for r in runs:
        lost = [model for model, method in models.items() if method not in r["methods"]]
        if lost:
            lines.append(f'{name(r)} was run without {", ".join(lost)}: remove runs/{name(r)}, then '
                         f'make tables PROFILE={profile} DATASETS={dataset} K="{r["k"]}"')  # fmt: skip
    return lines


def _provenance(runs: list[dict]) -> str:
    def several(values: Iterable) -> str:
        return ", ".join(str(v) for v in dict.fromkeys(values))

    def span(key: str) -> str:
        low, high = min(r[key] for r in runs), max(r[key] for r in runs)
        return f"{low}" if low == high else f"{low}-{high}"

    by_k: dict[int, list[int]] = {}
    for r in runs:
        by_k.setdefault(r["k"], []).append(r["seed"])
    spread = "; mean ± sample standard deviation" if max(map(len, by_k.values())) > 1 else ""
    if len({tuple(s) for s in by_k.values()}) == 1:
        seeds = f"{len(by_k[runs[0]['k']])} seed(s) per K ({several(by_k[runs[0]['k']])}){spread}"
    else:
        seeds = "seeds " + ", ".join(f"{several(s)} at K={k}" for k, s in by_k.items()) + spread
    commits = ((r["git"].get("commit") or "unknown")[:10] + " + changes" * bool(r["git"].get("dirty")) for r in runs)
    kind = "HELD-OUT TRAINING (tuning runs, not val)" if runs[0]["settings"].get("holdout") else "validation"
    minutes = sum(r["wall_s"] for r in runs) / 60
    return (
        f"Measured on {span('val_images')} {kind} images after training on {span('train_images')} images "
        f"(backbone, without unseen classes: {span('stage1_images')}); {seeds}; {minutes:.1f} "
        f"min in all on {several(r['device'] for r in runs)}; protocol {runs[0]['protocol']}; "
        f"zs3lib {runs[0]['versions']['zs3lib']}, commit {several(commits)}."
    )


def floor(records: list[dict]) -> pd.DataFrame:
    """Unseen mIoU (percent) of ZS3Net and Ours beside the floor, the same head without a generator.

    Rows (Dataset, K) of the runs that measured the floor, means over seeds; a ratio to a floor of 0 is NaN.
    """
    columns = {"No generator": "no_generator", "ZS3Net": "zs3net", "Ours": "ours"}
    lines = [
        {"Dataset": r["dataset"], "K": r["k"]}
        | {c: r["methods"][m]["metrics"]["unseen_miou"] for c, m in columns.items() if m in r["methods"]}
        for r in records if "no_generator" in r["methods"]
    ]  # fmt: skip
    frame = pd.DataFrame(lines, columns=["Dataset", "K", *columns]).groupby(["Dataset", "K"], sort=False).mean()
    for model in ("ZS3Net", "Ours"):
        frame[f"{model} / floor"] = frame[model] / frame["No generator"].where(frame["No generator"] > 0)
    return frame


def hiou_frame(records: list[dict], datasets: Iterable[str] | None = None) -> pd.DataFrame:
    """hIoU (percent), long: columns dataset, k, model, source, hiou; one row per run and one per published number."""
    measured = []
    for r in records:
        for model, method in SPECS["I"][1].items():
            if method in r["methods"]:
                hiou = r["methods"][method]["metrics"]["hiou"]
                measured.append([r["dataset"], r["k"], model, "measured", hiou])
    paper = published().query("table != 'III'").assign(source="published")
    columns = ["dataset", "k", "model", "source", "hiou"]
    frame = pd.DataFrame([*measured, *paper[columns].values.tolist()], columns=columns)
    return frame[frame["dataset"].isin(datasets or DATASETS)]


def to_csv(frame: pd.DataFrame, records: list[dict], which: str, profile: str) -> str:
    """One row per (k, model, source): measured, its std where there are several seeds, published; percent."""
    dataset, models, _ = SPECS[which]
    tidy = frame.stack("Source", future_stack=True)
    tidy = tidy.set_axis(METRICS, axis=1).rename_axis(["k", "model", "source"]).reset_index().round(4)
    tidy = tidy[(tidy["source"] != "std") | tidy["hiou"].notna()]
    seeds = [sum(r["dataset"] == dataset and r["k"] == k and models[m] in r["methods"] for r in records)
             for k, m in zip(tidy["k"], tidy["model"])]  # fmt: skip
    own = tidy["source"] != "published"
    tidy.insert(0, "table", which)
    tidy.insert(1, "dataset", dataset)
    tidy.insert(5, "profile", own.map({True: profile, False: ""}))
    tidy.insert(6, "seeds", pd.Series(seeds, tidy.index).where(own).astype("Int64"))
    return tidy.to_csv(index=False)


def to_markdown(frame: pd.DataFrame, heading: str, lines: list[str]) -> str:
    """Measured (published) in each cell, the better model in bold, notes below."""
    cells = beside(frame, "**{}**")
    cells.columns = [" ".join(head).strip() for head in cells.columns]
    cells = cells.reset_index()
    cells["K"] = cells["K"].astype(str).where(~cells["K"].duplicated(), "")
    text = "".join(f"- {line}\n" for line in lines)
    return f"# {heading}\n\nEach cell: measured (published).\n\n{markdown(cells)}\n{text}"


def to_latex(frame: pd.DataFrame, heading: str, lines: list[str], label: str) -> str:
    """A table* float for a paper; needs the packages booktabs and multirow."""
    special = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
                             "^": r"\textasciicircum{}", "±": r"$\pm$"})  # fmt: skip
    cells = below(frame, r"\textbf{{{}}}").rename_axis(columns=[None, None]).replace("±", r"$\\pm$", regex=True)
    tex = cells.style.to_latex(
        environment="table*", position="t", position_float="centering", hrules=True,
        multirow_align="c", multicol_align="c", column_format="lll" + "r" * len(METRICS),
        caption=heading.translate(special), label=label,
    )  # fmt: skip
    group = r"\multirow[c]{4}"  # where a K begins: a rule between them, not above the first
    tex = tex.replace(group, "\\midrule\n" + group).replace("\\midrule\n\\midrule", "\\midrule")
    small = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}"
    end = "\\par\\smallskip " + " ".join(lines).translate(special) + "\n\\end{table*}"
    tex = tex.replace("\\centering", small).replace("\\end{table*}", end)
    return "% needs \\usepackage{booktabs,multirow}\n" + tex


def format_terminal(frame: pd.DataFrame) -> str:
    """A table as plain text about 100 columns wide; * marks the better of the two models."""
    return below(frame, "*{}").rename_axis(columns=[None, None]).to_string()


def _for_terminal(records: list[dict], profile: str, ks: Iterable[int] | None, datasets: Iterable[str] | None) -> str:
    which = "I" if not datasets or "voc" in datasets else "II"
    frame = table(records, which, ks)
    lines = "\n".join(notes(records, which, profile, frame.index.unique("K"))).replace("Bold:", "*:")
    return f"{title(which, profile)}\n\n{format_terminal(frame)}\n\n{lines}\n"


def show(which: str, records: list[dict], profile: str, ks: Iterable[int] | None = None) -> None:
    """Display a table and its notes in a notebook: measured (published), the better model in bold."""
    from IPython.display import Markdown, display  # only notebooks need it

    frame = table(records, which, ks)
    cells = beside(frame).rename_axis(columns=[None, None])
    display(cells.style.set_caption(title(which, profile)))
    display(Markdown("".join(f"- {line}\n" for line in notes(records, which, profile, frame.index.unique("K")))))


def write_tables(
    records: list[dict], tables_dir: Path | str, profile: str, *,
    ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None,
) -> list[Path]:  # fmt: skip
    """Write `<tables_dir>/<profile>/table{1,2,3}.{csv,md,tex}`, floor.{csv,md} and table1.txt; returns the paths.

    `datasets` (default both) leaves out the other's tables; table1.txt, for the terminal, is Table II without VOC.
    Raises ZS3Error when runs of different settings would mix.
    """
    records = select(records, ks, datasets)
    check_same_settings(records)
    files: dict[str, str] = {}
    for number, which in enumerate(SPECS, 1):
        if not datasets or SPECS[which][0] in datasets:
            frame, heading = table(records, which, ks), title(which, profile)
            lines = notes(records, which, profile, frame.index.unique("K"))
            files[f"table{number}.csv"] = to_csv(frame, records, which, profile)
            files[f"table{number}.md"] = to_markdown(frame, heading, lines)
            files[f"table{number}.tex"] = to_latex(
                frame,
                f"{SPECS[which][2]}, profile {profile} (the paper's Table {which}).",
                lines,
                f"tab:{profile}-{number}",
            )
    files["table1.txt"] = _for_terminal(records, profile, ks, datasets)
    lowest = floor(records)
    if len(lowest):
        files["floor.csv"] = lowest.round(4).to_csv()
        shown = lowest.map("{:.1f}".format).replace("nan", "-").reset_index()
        files["floor.md"] = f"# Unseen mIoU above the floor, profile {profile}\n\n{FLOOR}\n\n{markdown(shown)}"
    for file, content in files.items():
        with atomic_write(Path(tables_dir, profile, file)) as out:
            out.write(content.encode())
    return [Path(tables_dir, profile, file) for file in files]


def main(arguments: list[str] | None = None) -> int:
    """Write the tables of a profile from its run records, print Table I (Table II without VOC) and where they are."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.tables", description=main.__doc__)
    parser.add_argument("--profile", default="toy", help="which runs: toy, lite or paper (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the run records (default: %(default)s)")
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder to write to (default: %(default)s)")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, help="only these datasets' tables (default: both)")
    parser.add_argument(
        "--ks", nargs="+", type=int, metavar="K", help="only these K (default: all run and the paper's)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="only runs of these seeds (default: all)")
    args = parser.parse_args(arguments)
    try:
        records = read_records(args.runs, args.profile, args.seeds)
        if not records:
            raise ZS3Error(f"no run records in {args.runs / args.profile}: make tables PROFILE={args.profile}")
        files = write_tables(records, args.tables, args.profile, ks=args.ks, datasets=args.datasets)
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print((args.tables / args.profile / "table1.txt").read_text(encoding="utf-8"))
    print("Tables:", *files, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
