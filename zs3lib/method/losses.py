"""MMD (Eq. 1) and ZS-MMD (Eq. 2): how far generated features are from real, or trusted, ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..classes import VOID

# s of exp(-|x - y|^2 / (2 s)), ZS3Net's: variances, though the field says bandwidths
BANDWIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
# sqrt's slope is infinite at 0, where float32's rounding of MMD^2 is about 1e-6: below, the loss
# is flat.
FLOOR = 1e-6


def kernel(x: Tensor, y: Tensor, bandwidths: tuple[float, ...] = BANDWIDTHS) -> Tensor:
    """k of Eq. 1, a sum of Gaussians exp(-|x - y|^2 / (2 s)): (N, D) and (M, D) -> (N, M)."""
    # float32 rounds |x|^2 of large features, not that of their distances to a mean of them.
    centre = x.detach().mean(0)
    x = x - centre
    y = y - centre
    d = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min(0)
    return sum(torch.exp(-d / (2 * s)) for s in bandwidths)


def mmd(
    x: Tensor, y: Tensor, *, bandwidths: tuple[float, ...] = BANDWIDTHS, root: bool = True
) -> Tensor:
    """Maximum mean discrepancy between real features and generated ones (Eq. 1).

    The paper's sums run over N of x and M of y; its words have N and M the other way round.

    Arguments:
        x: real features, (N, D) float; no gradient passes through them.
        y: generated features, (M, D) float.
        bandwidths: s of the Gaussians that are summed.
        root: the square root of Eq. 1, as ZS3Net trains with; False for Eq. 1 itself.

    Returns: a scalar. The root is flat below 1e-3 (MMD^2 < 1e-6).
    """
    return zs_mmd(x, y, x.new_ones(len(x)), bandwidths=bandwidths, root=root)


def zs_mmd(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    q: Tensor | float | None = None,
    normalise: bool = False,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    root: bool = True,
) -> Tensor:
    """Zero-shot MMD (Eq. 2): high-confidence pseudo-features teach, weighted by their confidence.

    (1/Q^2) sum_ii' c_i c_i' k(a_i, a_i') - (2/(QP)) sum_ij c_i k(a_i, b_j)
    + (1/P^2) sum_jj' k(b_j, b_j')

    Our reading: the formula is missing from the text that we had, and is put together from what it
    says of P, Q, a, b and c. Q counts the a_i that are kept.

    With c < 1 the weighted a have a mass below 1: they attract less than the b repel one another.

    Arguments:
        a: the pseudo-features that are kept, (Q, D) float; no gradient passes through them.
        b: generated features, (P, D) float.
        c: confidences of a, (Q,) float in [0, 1]; no gradient passes through them.
        q: the count Q, when `a` also holds rejected vectors with c = 0 (shapes are fixed then).
        normalise: divide by sum c instead of Q, so that the weighted a are a probability measure.
        bandwidths, root: as in `mmd`. With c = 1 this is `mmd(a, b)`.

    Returns: a scalar.
    """
    dtype = torch.promote_types(b.dtype, torch.float32)  # half precision is too coarse
    a = a.detach().to(dtype)
    b = b.to(dtype)
    c = c.detach().to(dtype)
    count = c.sum().clamp_min(1e-12) if normalise else (len(a) if q is None else q)
    aa = c @ kernel(a, a, bandwidths) @ c / count**2
    ab = c @ kernel(a, b, bandwidths).sum(1) / (count * len(b))
    bb = kernel(b, b, bandwidths).mean()
    squared = aa - 2 * ab + bb
    return squared.clamp_min(FLOOR).sqrt() if root else squared


def pixel_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of the pixel classification layer, void left out.

    What a learning rate means hangs on `reduction`: the paper's 1e-7 fits a "sum", ZS3Net's 0.07
    its own mean, which is divided by the number of images once more.

    Arguments:
        logits: (B, C, H, W) float.
        labels: (B, H, W) integer; 255 is void.
        weights: of each class, (C,); None: 1.
        reduction: "mean", weighted over all pixels of the batch; "zs3net", that mean divided by B,
            as ZS3Net's code has it; or "sum".

    Returns: a scalar, 0 where all is void.
    """
    labels = labels.long()
    total = F.cross_entropy(logits, labels, weights, ignore_index=VOID, reduction="sum")
    if reduction == "sum":
        return total
    known = labels != VOID
    weight = known if weights is None else weights[labels.masked_fill(~known, 0)] * known
    mean = total / weight.sum().clamp_min(1e-12)
    return mean / len(labels) if reduction == "zs3net" else mean
