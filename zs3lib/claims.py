"""What the paper's text says of its own tables, sentence by sentence."""

from __future__ import annotations

import pandas as pd

LABELS = {"pa": "PA", "ma": "MA", "miou": "mIoU", "hiou": "hIoU"}
ALL = (2, 4, 6, 8, 10)
OVERALL = ("overall_pa", "overall_ma", "overall_miou")
# The paper's sentences about its tables: (section, its words, table, the model said to be higher, the other, metrics,
# K, "all" or "most" of these comparisons).
CLAIMS = (
    ("IV-B", "our model gives better intersection-over-union (IoU) than ZS3Net on most cases, for both seen and unseen",
     "I", "Ours", "ZS3Net", ("seen_miou", "unseen_miou"), ALL, "most"),
    ("IV-B", "for K = 2 and 10, the PA, MA and mIoU scores are significantly better [...] for unseen classes",
     "I", "Ours", "ZS3Net", ("unseen_pa", "unseen_ma", "unseen_miou"), (2, 10), "all"),
    ("IV-B", "for all cases of K, our model achieves better mIoU than the baseline for unseen classes and in overall",
     "I", "Ours", "ZS3Net", ("unseen_miou", "overall_miou"), ALL, "all"),
    ("IV-B", "A similar trend can be observed for seen classes except for K = 2 [in mIoU]",
     "I", "Ours", "ZS3Net", ("seen_miou",), (4, 6, 8, 10), "all"),
    ("IV-C", "for K = 4, 8, 10, the mIoU on unseen classes of our method are better than that of ZS3Net",
     "II", "Ours", "ZS3Net", ("unseen_miou",), (4, 8, 10), "all"),
    ("IV-C", "For K = 2 and 6 [...] our method's mIoU on unseen classes is lower than that of ZS3Net",
     "II", "ZS3Net", "Ours", ("unseen_miou",), (2, 6), "all"),
    ("IV-C", "on seen classes, aside from the results on K = 2, our model provides better results for all metrics",
     "II", "Ours", "ZS3Net", ("seen_pa", "seen_ma", "seen_miou"), (4, 6, 8, 10), "all"),
    ("IV-C", "for K=4, 6, 8, 10, the overall performance of our method is clearly better than ZS3Net",
     "II", "Ours", "ZS3Net", OVERALL, (4, 6, 8, 10), "all"),
    ("IV-E", "for most cases, weighing the selected feature vectors with confidence gives better mIoU scores on unseen",
     "III", "Final", "Equal Weight", ("unseen_miou",), ALL, "most"),
    ("IV-E", "weighing pseudo feature vectors based on confidence score leads to better performance [in hIoU]",
     "III", "Final", "Equal Weight", ("hiou",), ALL, "all"),
)  # fmt: skip


def label(metric: str) -> str:
    """ "overall_miou" -> "overall mIoU"."""
    group, _, kind = metric.rpartition("_")
    return f"{group} {LABELS[kind]}".strip()


def check_claims(rows: pd.DataFrame) -> pd.DataFrame:
    """Each sentence against the printed `rows` (`audit.published`): section, claim, holds (bool), better, of, exceptions."""
    numbers = rows.set_index(["table", "k", "model"])
    lines = []
    for section, words, table, higher, other, metrics, ks, need in CLAIMS:
        exceptions = []
        for k in ks:
            for metric in metrics:
                a, b = (
                    numbers.loc[(table, k, higher), metric],
                    numbers.loc[(table, k, other), metric],
                )
                if not a > b:
                    exceptions.append(f"K={k} {label(metric)}: {higher} {a}, {other} {b}")
        of = len(ks) * len(metrics)
        holds = not exceptions if need == "all" else 2 * len(exceptions) < of
        lines.append({"section": section, "claim": words, "holds": holds, "better": of - len(exceptions), "of": of,
                      "exceptions": "; ".join(exceptions)})  # fmt: skip
    return pd.DataFrame(lines)
