"""The figures of docs/recipes.md: each recipe does what it is for, shown on handwritten digits and a simulated pump.

The digits are the 1797 of 8x8 pixels that scikit-learn ships (Alpaydin and Kaynak, UCI, CC BY 4.0), the last 297 held
back. Every number comes from the exported ONNX files. Writes docs/pictures/*.png and prints the figures; five minutes.

    python benchmarks/figures.py [NAME ...] [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image
from scipy.special import logsumexp
from scipy.stats import ks_2samp, kstest
from sklearn.datasets import load_digits

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.simulation import csv_lines, simulate
from vae_detect.training.data.selection import Selection
from vae_detect.training.evaluation.importance import importance_weights
from vae_detect.training.fitting.fit import Epoch
from vae_detect.training.settings.config import configure
from vae_detect.training.settings.recipes import RECIPES
from vae_detect.training.train import train

TRAINED = 1500
SETTINGS = {"kind": "images", "size": 8, "epochs": 60, "learning_rate": 2e-3}
DENSE = {"network": "mlp", "hidden": "128,64"}
NOISE = 48.0
"""Standard deviation of the noise that denoisers remove, in grey levels of 255."""

matplotlib.use("Agg")


class Digits:
    """The digits as images, and detectors trained on them, each once."""

    def __init__(self, folder: Path) -> None:
        found = load_digits()
        self.images = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
        self.labels = found.target
        self.test = self.images[TRAINED:]
        self.folder = folder
        self._made: dict[str, tuple[Detector, list[Epoch]]] = {}
        for number, (pixels, label) in enumerate(zip(self.images[:TRAINED], self.labels[:TRAINED], strict=True)):
            path = folder / "digits" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(path)

    def fit(self, recipe: str, **settings: Any) -> tuple[Detector, list[Epoch]]:
        """A detector and its epochs."""
        key = f"{recipe} {settings}"
        if key not in self._made:
            out = self.folder / f"{len(self._made)}.onnx"
            config = configure({**SETTINGS, "recipe": recipe, **settings})
            epochs: list[Epoch] = []
            train(
                self.folder / "digits",
                out,
                config,
                selection=Selection(),
                layout=Layout(),
                far="0.05",
                report=epochs.append,
            )
            self._made[key] = Detector.load(out, provider="cpu"), epochs
        return self._made[key]


def show(axes: Axes, images: NDArray[Any], *, columns: int, title: str, limits: tuple[float, float] = (0, 255)) -> None:
    """Images (n, height, width, 1) or (n, height, width) side by side in one frame."""
    images = images.reshape(len(images), *images.shape[1:3])
    padded = np.pad(images.astype(float), ((0, 0), (0, 1), (0, 1)), constant_values=limits[1] / 2)
    rows = [np.concatenate(list(padded[start : start + columns]), axis=1) for start in range(0, len(images), columns)]
    axes.imshow(np.concatenate(rows), cmap="gray" if limits == (0, 255) else "inferno", vmin=limits[0], vmax=limits[1])
    axes.set_title(title, fontsize=9, loc="left")
    axes.axis("off")


def save(figure: Any, out: Path, name: str) -> None:
    figure.tight_layout()
    figure.savefig(out / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def psnr(clean: NDArray[Any], other: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared difference)."""
    return float(10 * np.log10(255**2 / np.mean((clean.astype(float) - other) ** 2)))


def reconstructions(digits: Digits, out: Path) -> None:
    """Every recipe's reconstruction of the same digits."""
    x = digits.test[:16]
    figure, frames = plt.subplots(len(RECIPES) + 1, 1, figsize=(7, 11))
    show(frames[0], x, columns=16, title="digits that were held back")
    for axes, recipe in zip(frames[1:], RECIPES, strict=True):
        detector, _ = digits.fit(recipe)
        made = np.clip(detector.reconstruct(x), 0, 255)
        error = psnr(digits.test, detector.reconstruct(digits.test))
        print(f"reconstruction of held-back digits, {recipe}: {error:.1f} dB")
        show(axes, made, columns=16, title=f"{recipe}, {error:.1f} dB")
    save(figure, out, "reconstructions")


def sparse(digits: Digits, out: Path) -> None:
    """Activations of code units with and without the penalties, and exact zeros of sparse coding."""
    figure, frames = plt.subplots(1, 2, figsize=(8, 3))
    for penalty in ("none", "kl-sparsity", "l1"):
        codes = digits.fit("sparse", penalty=penalty)[0].encode(digits.test)
        share = float((codes > 0.1).mean())
        print(f"sparse, penalty {penalty}: {share:.1%} of code units above 0.1")
        frames[0].hist(codes.ravel(), np.linspace(0, 1, 41).tolist(), histtype="step", label=f"{penalty}: {share:.0%}")
    frames[0].set(title="sparse: activations of the code", xlabel="activation", yscale="log", ylim=(1, 1e6))
    frames[0].legend(title="units above 0.1", loc="upper center")
    for weight in (0.1, 1, 2):
        codes = digits.fit("sparse-coding", penalty_weight=weight)[0].encode(digits.test)
        zeros = float((codes == 0).mean())
        print(f"sparse-coding, penalty_weight {weight}: {zeros:.1%} of coefficients exactly 0")
        frames[1].hist(codes.ravel(), np.linspace(-4, 4, 41).tolist(), histtype="step", label=f"{weight}: {zeros:.0%}")
    frames[1].set(title="sparse-coding: coefficients", xlabel="coefficient", yscale="log")
    frames[1].set_xlim(-4, 7)
    frames[1].legend(title="penalty_weight: zeros", loc="upper right")
    save(figure, out, "sparse")


def jacobian_norms(detector: Detector, x: NDArray[np.uint8], step: int = 8) -> NDArray[np.float64]:
    """|| d code / d pixel ||_F of each image, by differences of the exported encoder, codes per grey level."""
    base = detector.encode(x)
    total = np.zeros(len(x))
    for row, column in np.ndindex(x.shape[1:3]):
        moved = x.copy()
        up = x[:, row, column, 0] < 128
        moved[:, row, column, 0] = np.where(up, x[:, row, column, 0] + step, x[:, row, column, 0] - step)
        total += (((detector.encode(moved) - base) / step) ** 2).sum(axis=1)
    return np.sqrt(total)


def contractive(digits: Digits, out: Path) -> None:
    """The encoder's Jacobian with and without its penalty."""
    figure, axes = plt.subplots(figsize=(7, 3))
    x = digits.test[:100]
    for weight in (0.0, 3.0, 10.0):
        detector, _ = digits.fit("contractive", penalty_weight=weight)
        norms = jacobian_norms(detector, x)
        error = psnr(digits.test, detector.reconstruct(digits.test))
        print(
            f"contractive, weight {weight}: Jacobian {norms.mean():.4f} per grey level, reconstruction {error:.1f} dB"
        )
        axes.hist(norms, 30, histtype="step", label=f"{weight:g}: mean {norms.mean():.4f}")
    axes.set(title="contractive: Jacobian of the encoder", xlabel="Frobenius norm, per grey level")
    axes.legend(title="penalty_weight", loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, out, "contractive")


def denoising(digits: Digits, out: Path) -> None:
    """Noise that denoising autoencoders remove and a plain one does not."""
    noisy = np.clip(digits.test + np.random.default_rng(0).normal(0, NOISE, digits.test.shape), 0, 255)
    noisy = np.rint(noisy).astype(np.uint8)
    masked = digits.test * (np.random.default_rng(1).random(digits.test.shape) >= 0.3).astype(np.uint8)
    wide = {"network": "mlp", "hidden": "256", "latent": 64, "epochs": 100}  # wide enough to copy the noise
    variants = {
        "ae": digits.fit("ae", **wide)[0],
        "denoising, gaussian": digits.fit("denoising", corruption_level=0.5, **wide)[0],
        "denoising, mask": digits.fit("denoising", corruption="mask", **wide)[0],
    }
    figure, frames = plt.subplots(4, 2, figsize=(9, 4))
    for side, (what, spoilt) in enumerate({"noise": noisy, "masking": masked}.items()):
        before = psnr(digits.test, spoilt)
        print(f"{what}: {before:.1f} dB")
        show(frames[0, side], spoilt[:16], columns=16, title=f"{what}, {before:.1f} dB")
        for axes, (name, detector) in zip(frames[1:, side], variants.items(), strict=True):
            made = detector.reconstruct(spoilt)
            after = psnr(digits.test, made)
            print(f"  after {name}: {after:.1f} dB")
            show(axes, np.clip(made[:16], 0, 255), columns=16, title=f"{name}: {after:.1f} dB")
    save(figure, out, "denoising")


def adversarial(digits: Digits, out: Path) -> None:
    """Codes that a discriminator made normal, beside those of a plain autoencoder."""
    figure, frames = plt.subplots(1, 2, figsize=(8, 3))
    grid = np.linspace(-4, 4, 200)
    for axes, recipe in zip(frames, ("ae", "adversarial"), strict=True):
        codes = digits.fit(recipe, latent=8, epochs=150, patience=150, **DENSE)[0].encode(digits.images[:TRAINED])
        centred = (codes - codes.mean(0)) / codes.std(0)
        raw, shape = ([kstest(column, "norm").statistic for column in each.T] for each in (codes, centred))
        print(f"{recipe}: distance from N(0, 1) {np.mean(raw):.3f}; once standardised {np.mean(shape):.3f}")
        axes.hist(codes, 40, density=True, histtype="step")
        axes.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), "k--", label="N(0, 1)")
        axes.set(title=f"{recipe}: Kolmogorov-Smirnov {np.mean(raw):.3f}", xlabel="code, 8 dimensions", xlim=(-6, 6))
        axes.legend()
    save(figure, out, "adversarial")


def pretraining(digits: Digits, out: Path) -> None:
    """Losses of the first epochs with and without pretraining."""
    figure, frames = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
    for axes, recipe in zip(frames, ("stacked", "dbn"), strict=True):
        for epochs in (0, 20):
            _, history = digits.fit(recipe, pretrain_epochs=epochs, hidden="128,64")
            losses = [epoch.loss for epoch in history[:15]]
            print(
                f"{recipe}, {epochs} epochs of pretraining: loss {losses[0]:.1f} in epoch 1, {losses[4]:.1f} in epoch 5"
            )
            axes.plot(range(1, len(losses) + 1), losses, label=f"{epochs} epochs a layer")
        axes.set(title=recipe, xlabel="epoch", ylabel="training loss, nats")
        axes.legend(title="pretraining")
    save(figure, out, "pretraining")


def samples(digits: Digits, out: Path) -> None:
    """New digits from each prior."""
    generative = [name for name, recipe in RECIPES.items() if recipe.prior != "none"]
    figure, frames = plt.subplots(len(generative) + 1, 1, figsize=(8, 9))
    show(frames[0], digits.test[:48], columns=24, title="digits that were held back")
    for axes, recipe in zip(frames[1:], generative, strict=True):
        made = np.clip(digits.fit(recipe, latent=8, **DENSE)[0].sample(48, seed=1), 0, 255)
        show(axes, made, columns=24, title=f"{recipe}: new ones")
    save(figure, out, "samples")


def marginals(digits: Digits, out: Path) -> None:
    """Rows drawn from the prior have the marginals of the data."""
    normal = simulate(duration_s=4 * 86400, period_s=60, seed=1)
    folder = digits.folder
    data = folder / "normal.csv"
    data.write_text("".join(csv_lines(normal)))
    config = configure({"recipe": "mixture-vae"})
    train(data, folder / "pump.onnx", config, selection=Selection(), layout=Layout())
    detector = Detector.load(folder / "pump.onnx", provider="cpu")
    made = detector.sample(len(normal.values), seed=1)
    figure, frames = plt.subplots(2, 4, figsize=(11, 4.5))
    distances = []
    for axes, name, real, new in zip(frames.ravel(), detector.bundle.names, normal.values.T, made.T, strict=True):
        edges = np.histogram_bin_edges(np.concatenate([real, new]), 50).tolist()
        distances.append(ks_2samp(real, new).statistic)
        axes.hist(real, edges, density=True, alpha=0.5, label="recorded")
        axes.hist(new, edges, density=True, histtype="step", color="k", label="sampled")
        axes.set_title(f"{name}: {distances[-1]:.2f}", fontsize=8)
    frames[0, 0].legend(fontsize=7)
    tie = [float(np.corrcoef(each[:, 1], each[:, 4])[0, 1]) for each in (normal.values, made)]
    print(f"marginals: Kolmogorov-Smirnov {np.mean(distances):.3f} in the mean, {max(distances):.3f} at most")
    print(f"correlation of flow and motor current: {tie[0]:.2f} recorded, {tie[1]:.2f} sampled")
    save(figure, out, "marginals")


def bounds(digits: Digits, out: Path) -> None:
    """The importance-weighted bound rises with the number of samples."""
    figure, axes = plt.subplots(figsize=(5, 3))
    counts = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    for recipe in ("vae", "iwae"):
        detector, _ = digits.fit(recipe, latent=8, **DENSE)
        weights = importance_weights(detector, digits.test[:200], samples=counts[-1])
        bound = [float(np.mean(_bound(weights, count))) for count in counts]
        print(f"{recipe}: " + ", ".join(f"K={k} {b:.2f}" for k, b in zip(counts, bound, strict=True)))
        axes.plot(counts, bound, "o-", label=recipe)
    axes.set(title="bound on log p(x) of held-back digits", xlabel="samples K", ylabel="nats", xscale="log")
    axes.legend()
    save(figure, out, "bounds")


def _bound(log_weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """log 1/K sum of K weights, averaged over the groups of K."""
    groups = log_weights[: len(log_weights) // count * count].reshape(-1, count, log_weights.shape[1])
    mean: NDArray[np.float64] = (logsumexp(groups, axis=1) - np.log(count)).mean(axis=0)
    return mean


def active(digits: Digits, out: Path) -> None:
    """What beta, annealing and free bits do to the latent dimensions."""
    variants: Sequence[tuple[str, dict[str, Any]]] = (
        ("beta=1", {}),
        ("beta=4", {"beta": 4}),
        ("beta=4 annealing=30", {"beta": 4, "annealing": 30}),
        ("beta=4 free_bits=0.5", {"beta": 4, "free_bits": 0.5}),
    )
    for name, settings in variants:
        detector, history = digits.fit("beta-vae", latent=16, **{"beta": 1, **settings}, **DENSE)
        print(f"beta-vae {name}: {detector.bundle.active_units} of 16 active, KL {history[-1].kl:.1f} nats")


def heat(digits: Digits, out: Path) -> None:
    """Where a digit is wrong."""
    detector, _ = digits.fit("vae")
    broken = digits.test[:16].copy()
    broken[:, 2:5, 2:5] = 255 - broken[:, 2:5, 2:5]
    maps = detector.heat_map(broken)
    hit = np.mean([2 <= np.unravel_index(each.argmax(), each.shape)[0] <= 4 for each in maps])
    before, after = (detector.score(x).score.mean() for x in (digits.test[:16], broken))
    print(f"heat map: largest in the damaged rows in {hit:.0%} of the digits; mean score {before:.0f} to {after:.0f}")
    figure, frames = plt.subplots(3, 1, figsize=(8, 2.6))
    show(frames[0], digits.test[:16], columns=16, title="held-back digits")
    show(frames[1], broken, columns=16, title="with a patch inverted")
    show(frames[2], maps, columns=16, title="heat map", limits=(0, float(np.quantile(maps, 0.99))))
    save(figure, out, "heat-map")


FIGURES = (
    reconstructions,
    sparse,
    contractive,
    denoising,
    adversarial,
    pretraining,
    samples,
    bounds,
    active,
    heat,
    marginals,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="which figures; all of them by default")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    asked = parser.parse_args()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        digits = Digits(Path(folder))
        for draw in FIGURES:
            if draw.__name__ in asked.names or not asked.names:
                draw(digits, out)


if __name__ == "__main__":
    main()
