"""Pictures for people, as PNG. Needs numpy and Matplotlib, and nothing of PyTorch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NORMAL, _ANOMALY = "#4477aa", "#cc3311"  # told apart by the colour-blind too


def draw_codes(latent: NDArray[np.float32], severity: NDArray[np.float32], is_anomaly: NDArray[np.bool_]) -> bytes:
    """Codes as points: along the two directions in which those of normal rows vary most, anomalies in red.

    A code of one number is drawn against its severity.

    Parameters
    ----------
    latent : codes (n, latent), finite, n > 0
    severity, is_anomaly : (n,)
    """
    if latent.shape[1] == 1:
        points = np.column_stack([latent[:, 0], severity])
        labels = ["z0, the code", "severity; an anomaly is above 1"]
    else:
        points, shares = principal_components(latent, is_anomaly if is_anomaly.all() else ~is_anomaly)
        labels = [
            f"{which} principal component, {share:.0%} of the normal variance"
            for which, share in zip(("first", "second"), shares, strict=True)
        ]
    figure = Figure(figsize=(8, 6.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for flag, colour, size in ((False, _NORMAL, 8), (True, _ANOMALY, 16)):
        x, y = points[is_anomaly == flag].T
        label = f"{'anomaly' if flag else 'normal'} ({len(x)})"
        axes.scatter(x, y, s=size, c=colour, alpha=0.6, linewidths=0, label=label)
    axes.set(xlabel=labels[0], ylabel=labels[1], title="Codes of the encoder")
    axes.legend(markerscale=2)
    axes.grid(alpha=0.25)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})  # without it equal pictures are equal files
    return content.getvalue()


def principal_components(
    latent: NDArray[np.float32], fit: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Codes along the first two principal components of those in `fit`, (n, 2), and their shares of the variance."""
    values = latent.astype(np.float64)
    center = values[fit].mean(axis=0)
    centred = values - center
    _, variances, directions = np.linalg.svd(centred[fit].T @ centred[fit])  # (latent, latent), however many rows
    # The sign of a direction is chance; with the largest entry positive, pictures can be compared.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1, keepdims=True), axis=1)
    basis = (directions * np.sign(largest))[:2]
    return centred @ basis.T, variances[:2] / (variances.sum() or 1.0)
