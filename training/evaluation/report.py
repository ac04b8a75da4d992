"""An evaluation as one HTML page that needs nothing else: no script, no network, pictures inside."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined

from ...runtime.alarms.runs import runs
from ...runtime.bundle import Bundle, Column, is_ordered
from ...runtime.calibration.calibration import realised_range
from ...runtime.detector import HEAT_WHITE, Detector
from ...runtime.images.pictures import png, to_pixels
from ...runtime.scoring.framing import windows_at
from . import plots
from .event_figures import heard_alarms
from .labelled import Labelled
from .regions import read_masks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .figures import Evaluation

WORST_ROWS, WORST_IMAGES = 8, 5
"""How many of each kind are shown."""

BLAMED = 3
"""Columns that are named for a row, those that contribute most."""


Mistake = Literal["false", "missed", "found"]
"""What the lists of rows and images are of; the last is none, and shows what is right."""


class Figure(NamedTuple):
    """A plot of the page, in both looks."""

    title: str
    light: str
    dark: str
    alt: str
    caption: str


class Headline(NamedTuple):
    """A number of the page's first lines."""

    name: str
    value: str
    note: str


class Blame(NamedTuple):
    """A column of a row."""

    column: str
    value: str
    expected: str
    share: str
    """Of the row's contributions."""


class Offender(NamedTuple):
    """A row or an image that the detector got wrong, or right."""

    name: str
    score: str
    p_value: str
    blames: list[Blame]
    pictures: list[tuple[str, str]]
    """What it is and the picture."""


class Offenders(NamedTuple):
    """A list of them."""

    title: str
    explanation: str
    rows: list[Offender]


def page(
    detector: Detector, labelled: Labelled, evaluation: Evaluation, *, data_name: str, now: datetime | None = None
) -> str:
    """The page.

    Parameters
    ----------
    data_name : what the data is called, for people
    now : the date in the heading; today where it is None
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        model=detector.path.name,
        bundle=detector.bundle,
        data_name=data_name,
        date=f"{now or datetime.now(UTC):%Y-%m-%d}",
        headlines=_headlines(evaluation),
        text=evaluation.further(),
        figures=_figures(detector, labelled, evaluation),
        offenders=_offenders(detector, labelled),
        is_images=detector.bundle.kind == "images",
    )


def _headlines(evaluation: Evaluation) -> list[Headline]:
    at, ranking, base = evaluation.at_threshold, evaluation.detector, evaluation.z_score
    low, high = evaluation.promised_range
    kept = "within" if low <= at.false_alarm_rate <= high else "not within"
    found = [
        Headline("ROC-AUC", f"{ranking.roc_auc:.3f}", f"z-score {base.roc_auc:.3f}"),
        Headline("average precision", f"{ranking.average_precision:.3f}", f"z-score {base.average_precision:.3f}"),
    ]
    if ranking.vus_pr is not None:
        found.append(Headline("VUS-PR", f"{ranking.vus_pr:.3f}", f"z-score {base.vus_pr:.3f}"))
    found += [
        Headline(
            "false-alarm rate",
            f"{at.false_alarm_rate:.3g}",
            f"promised {evaluation.promised_false_alarm_rate:.3g}, {kept} what was allowed",
        ),
        Headline("recall", f"{at.recall:.3f}", f"precision {'-' if at.precision is None else f'{at.precision:.3f}'}"),
    ]
    if evaluation.events is not None:
        events = evaluation.events
        found.append(Headline("events found", f"{events.found} of {events.events}", f"{events.false_events} false"))
    if evaluation.pixels is not None and evaluation.pixels.aupro is not None:
        found.append(Headline("AUPRO", f"{evaluation.pixels.aupro:.3f}", f"{evaluation.pixels.masks} masks"))
    return found


# --- plots -----------------------------------------------------------------------------------------------------------


def _figures(detector: Detector, labelled: Labelled, evaluation: Evaluation) -> list[Figure]:
    bundle, kept = detector.bundle, labelled.scored
    score, truth = labelled.score[kept].astype(np.float64), labelled.truth[kept]
    threshold = bundle.calibration.threshold
    what = "images" if bundle.kind == "images" else "rows"
    figures = [_curves(evaluation)]
    if _is_ordered(bundle):
        events, alarms = runs(labelled.truth), [(each.first, each.last + 1) for each in labelled.events]
        figures.append(
            _figure(
                "Score over time",
                plots.series(labelled.score.astype(np.float64), events, alarms, threshold, labelled.times),
                f"The score of {len(labelled.score)} rows, {len(events)} events shaded, alarms marked along the top.",
                "The scale is logarithmic but near 0. Of rows in one place the lowest and the highest score are drawn.",
            )
        )
    figures += [
        _figure(
            "Scores of normal and anomalous " + what,
            plots.histogram(score, truth, threshold),
            f"Histograms of {(~truth).sum()} normal and {truth.sum()} anomalous scores and the threshold "
            f"{threshold:.6g}.",
            "Each histogram sums to 1. Right of the threshold are the alarms. The scale is logarithmic but near 0.",
        ),
        _calibration(bundle, labelled),
    ]
    if bundle.history is not None:
        epochs = len(bundle.history.training)
        figures.append(
            _figure(
                "Training",
                plots.losses(bundle.history.training, bundle.history.validation),
                f"Training and validation loss over {epochs} epochs, the lowest validation loss being "
                f"{min(bundle.history.validation):.4g}.",
                "The training loss is a mean over an epoch in which the weights change, with noise and corruption; the "
                "validation loss is without.",
            )
        )
    return figures


def _figure(title: str, plot: plots.Plot, alt: str, caption: str) -> Figure:
    light, dark = (_data_uri(svg, "image/svg+xml") for svg in plots.svgs(plot))
    return Figure(title, light, dark, alt, caption)


def _curves(evaluation: Evaluation) -> Figure:
    at = evaluation.at_threshold
    traced = {name.replace("_", "-"): curves for name, curves in evaluation.curves.items()}
    return _figure(
        "Ranking",
        plots.curves(
            {name: curves.roc for name, curves in traced.items()},
            {name: curves.precision_recall for name, curves in traced.items()},
            (at.false_alarm_rate, at.recall, at.precision),
        ),
        f"ROC curves, area {evaluation.detector.roc_auc:.3f} for the detector and {evaluation.z_score.roc_auc:.3f} for "
        f"the z-score, and precision-recall curves, average precision {evaluation.detector.average_precision:.3f} and "
        f"{evaluation.z_score.average_precision:.3f}.",
        "A z-score needs no training: a detector that does not beat it is not worth its weights. The dot is the "
        "threshold in the model file, which was chosen without these labels.",
    )


def _calibration(bundle: Bundle, labelled: Labelled) -> Figure:
    calibration = bundle.calibration
    p_value = labelled.p_value[labelled.scored & ~labelled.truth]
    shares = np.geomspace(calibration.resolution, 0.5, 40)
    # As many of the calibration's scores may lie above a threshold as (n + 1) alpha has whole ones.
    allowed = np.maximum(np.floor(shares * (calibration.n + 1) * (1 + 1e-12)), 1) / (calibration.n + 1)
    low, high = np.array([realised_range(share, calibration.effective_n) for share in allowed]).T
    realised = np.array([(p_value <= share).mean() for share in shares])
    return _figure(
        "Calibration",
        plots.calibration(shares, realised, low, high, calibration.far),
        f"Promised false-alarm rates from {shares[0]:.2g} to 0.5 against those realised on {len(p_value)} normal "
        f"inputs. At the promised {calibration.far:.3g}, {(p_value <= calibration.far).mean():.3g} were realised.",
        "For each rate, the share of normal inputs whose p-value is below it. The band holds 9 cases of 10 for the "
        f"size of the calibration, {calibration.n} scores worth {calibration.effective_n:.0f} independent ones; the "
        f"{len(p_value)} normal inputs add noise of their own. Above the band, normal operation has changed.",
    )


# --- what went wrong, and why ----------------------------------------------------------------------------------------


def _is_ordered(bundle: Bundle) -> bool:
    return is_ordered(bundle.kind, bundle.data)


def _offenders(detector: Detector, labelled: Labelled) -> list[Offenders]:
    if _is_ordered(detector.bundle):
        kinds = ("Alarm events that touch no event", "Events without an alarm", "Events with an alarm")
        each = "; of each the row with the highest score"
    else:
        what = "images" if detector.bundle.kind == "images" else "rows"
        kinds = (f"Normal {what} with an alarm", f"Anomalous {what} without one", f"Anomalous {what} with an alarm")
        each = ""
    show = _pictured if detector.bundle.kind == "images" else _blamed
    titles: dict[Mistake, tuple[str, str]] = {
        "false": ("False alarms", f"{kinds[0]}, the highest score first{each}."),
        "missed": ("Missed faults", f"{kinds[1]}, the lowest score first{each}."),
        "found": ("Found faults", f"{kinds[2]}, the highest score first{each}."),
    }
    return [
        Offenders(*texts, show(detector, labelled, _places(labelled, detector.bundle, kind)))
        for kind, texts in titles.items()
    ]


def _places(labelled: Labelled, bundle: Bundle, kind: Mistake) -> NDArray[np.intp]:
    """Rows or images of one kind, the worst first."""
    truth, alarm = labelled.truth, labelled.alarm
    if _is_ordered(bundle):
        alarm = heard_alarms(alarm, labelled.events)
        told = [slice(each.first, each.last + 1) for each in labelled.events]
        groups = {
            "false": [rows for rows in told if not truth[rows].any()],
            "missed": [slice(*run) for run in runs(truth) if not alarm[slice(*run)].any()],
            "found": [slice(*run) for run in runs(truth) if alarm[slice(*run)].any()],
        }[kind]
        scored = [group for group in groups if labelled.scored[group].any()]
        places = np.array([group.start + int(np.nanargmax(labelled.score[group])) for group in scored], np.intp)
    else:
        flags = {"false": ~truth & alarm, "missed": truth & ~alarm, "found": truth & alarm}[kind]
        places = np.flatnonzero(flags & labelled.scored)
    order = np.argsort(labelled.score[places] * (1 if kind == "missed" else -1), kind="stable")
    return places[order][: WORST_IMAGES if bundle.kind == "images" else WORST_ROWS]


def _blamed(detector: Detector, labelled: Labelled, places: NDArray[np.intp]) -> list[Offender]:
    """Rows with the columns to blame; of windows their newest row, and contributions summed over the window."""
    contribution, expected = detector.explain(windows_at(labelled.values, places, detector.bundle.window))
    if contribution.ndim == 3:
        contribution, expected = contribution.sum(axis=1), expected[:, -1]
    columns = detector.bundle.columns
    rows = []
    for place, parts, means in zip(places, contribution.astype(np.float64), expected, strict=True):
        blames = [
            Blame(
                columns[at].name,
                _written(labelled.values[place, at], columns[at]),
                _written(means[at], columns[at]),
                f"{parts[at] / max(parts.sum(), 1e-30):.0%}",
            )
            for at in np.argsort(-parts, kind="stable")[:BLAMED]
        ]
        rows.append(_offender(labelled, place, _row_name(labelled, place), blames, []))
    return rows


def _pictured(detector: Detector, labelled: Labelled, places: NDArray[np.intp]) -> list[Offender]:
    """Images beside what was expected instead, their heat, and their masks where there are any."""
    image = detector.bundle.image
    assert image is not None
    values = labelled.values[places]
    expected, heat = to_pixels(detector.reconstruct(values)), detector.heat_map(values)
    masks = None
    if labelled.masks is not None:
        masks = read_masks(labelled.masks, [labelled.names[at] for at in places], labelled.truth[places], image)
    rows = []
    for index, place in enumerate(places):
        pictures = {
            "image": values[index],
            "expected": expected[index],
            "heat map": plots.heat_picture(heat[index], HEAT_WHITE * detector.normal_heat),
        }
        if masks is not None and masks[index].any():
            pictures["mask"] = masks[index, :, :, None].astype(np.uint8) * 255
        embedded = [(what, _data_uri(png(pixels), "image/png")) for what, pixels in pictures.items()]
        rows.append(_offender(labelled, place, labelled.names[place], [], embedded))
    return rows


def _offender(
    labelled: Labelled, place: np.intp, name: str, blames: list[Blame], pictures: list[tuple[str, str]]
) -> Offender:
    return Offender(name, f"{labelled.score[place]:.4g}", f"{labelled.p_value[place]:.2g}", blames, pictures)


def _row_name(labelled: Labelled, place: np.intp) -> str:
    if labelled.times is None or not np.isfinite(labelled.times[place]):
        return f"row {place}"
    return f"row {place}, {datetime.fromtimestamp(float(labelled.times[place]), UTC):%Y-%m-%d %H:%M:%S}"


def _written(value: np.floating, column: Column) -> str:
    """A value as people read it: with its unit, or the text that it stands for."""
    if column.texts:
        place = int(np.rint(value))
        return column.texts[place] if 0 <= place < len(column.texts) else "unknown"
    return f"{value:.4g} {column.unit}".rstrip()


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
