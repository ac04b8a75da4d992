"""What is in a recording, and what training would make of it, before anything is trained."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ...runtime.bundle import Column, is_ordered
from ...runtime.errors import InputError, few
from ...runtime.layout import NUMBERS_OF, Layout
from ...runtime.rows.recognise import describe_format
from ...runtime.rows.times import clock_of, is_break, write_time
from ..settings.config import TrainConfig
from .columns import plan_columns
from .declared_limits import refuse_untaken
from .inputs import refuse_too_few
from .loading import Survey, Table, survey, table_of
from .neighbours import is_evident, lies_on_its_side
from .order import describe_unscored, settle_kind
from .profile import Profile, profile_table
from .selection import Selection
from .sources import Read
from .split import split
from .stamps import longest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_JITTER = 0.1
"""Of a period, by which a step may differ from it and still be regular."""

_MOSTLY = 0.99
"""Share of regular steps from which on nothing is said of the others."""

_SHOWN_LETTERS = 40


class Times(msgspec.Struct, frozen=True):
    """How time goes on from row to row."""

    begin: str | None
    end: str | None
    """ISO 8601 in UTC."""
    period_s: float
    regular: float
    """Share of the steps that are one period long, up to a tenth of it."""
    gaps: int
    """Steps that break a window."""
    longest_gap_s: float


class LookedAt(msgspec.Struct, frozen=True):
    """One column, and what training would do with it."""

    name: str
    kind: str
    """time, numbers, text, numbers and text, or empty."""
    unit: str
    low: float | None
    """The lowest number; None where there is none."""
    median: float | None
    high: float | None
    texts: tuple[str, ...]
    """The commonest ones, at most three."""
    kinds: int
    """Different texts."""
    missing: float
    """Share of the rows that have nothing here."""
    treatment: str
    """What is done with a feature; "" for a column that is none."""
    why: str
    """Why it is no feature, or why it had perhaps better be none."""


class Look(msgspec.Struct, frozen=True):
    """What is in a recording, and what training would make of it."""

    data: str
    """The names that were given."""
    files: tuple[str, ...]
    """Each a recording of its own."""
    rows: int
    layout: Layout
    times: Times | None
    kind: str
    """rows or windows."""
    window: int
    inputs: str
    """What a detector would look at, and why."""
    columns: tuple[LookedAt, ...]
    notes: tuple[str, ...]
    """What training would say of rows and columns, before it trains."""
    options: dict[str, str]
    """What the user had better add, by option."""
    command: str
    """The command that trains on it."""

    def describe(self) -> str:
        """All of it in a screen of text."""
        return "\n".join(
            [
                f"{self.data}: {self.rows} rows",
                f"  text    {describe_format(self.layout.format)}",
                f"  time    {_describe_time(self.layout, self.times)}",
                *([f"  key     {self.layout.key!r}: a recording for each"] if self.layout.key else []),
                *([f"  long    a column for each {self.layout.long.name!r}"] if self.layout.long else []),
                f"  inputs  {self.inputs}",
                "",
                *_describe_columns(self.columns),
                "",
                *([*self.notes, ""] if self.notes else []),
                self.command,
            ]
        )


def look(
    data: Path | Sequence[Path],
    selection: Selection,
    layout: Layout,
    settings: Mapping[str, Any],
    *,
    asked: Sequence[str] = (),
) -> tuple[Look, Survey]:
    """Looks at tables as a training with these settings would see it; also gives what was read.

    Raises InputError as `loading.survey` and `loading.table_of` do.

    Parameters
    ----------
    asked : the options that the user gave, as they are typed; they go into the command
    """
    found = survey(data, selection, layout)
    rows, profiles = profile_table(found.sources, units=found.units, sentinels=found.sentinels)
    table = table_of(found)
    table = table._replace(ordered=is_evident(table.values, table.segment))
    config, chosen = settle_kind(settings, table)
    # What is done with a column is settled on the training rows in the end; these are all.
    values = table.values.astype(np.float32, copy=False)
    columns, _ = plan_columns(
        values, table.names, texts=table.texts, treatments=selection.treatments, units=table.units
    )
    refuse_untaken(table.limits, columns)
    planned = {column.name: column for column in columns}
    options, doubt = _propose(found, table, config)
    words = [*asked, *(word for option in options.items() for word in option)]
    named = [data] if isinstance(data, Path) else data
    name = (named[0] if named[0].exists() else found.tables.files[0]).resolve().name.partition(".")[0]
    notes = [*table.notes, *filter(None, [_describe_side(table.values), doubt])]
    looked = Look(
        data=" ".join(map(str, named)),
        files=tuple(map(str, found.tables.files)),
        rows=rows,
        layout=found.layout,
        times=_times(found.read, found.layout.max_gap_s),
        kind=config.kind,
        window=config.window,
        inputs=chosen or "each row on its own",
        columns=tuple(_look_at(profile, found, planned.get(profile.name)) for profile in profiles),
        notes=tuple(note for note in notes if not note.startswith(("text: ", "time stamps: "))),
        options=options,
        command=shlex.join(["vae-detect", "train", *map(str, named), *words, "--out", f"{name}.onnx"]),
    )
    return looked, found


def _propose(found: Survey, table: Table, config: TrainConfig) -> tuple[dict[str, str], str]:
    """What had better be added, by option, and what would come of training without; "" where all is well."""
    options = {"--exclude": ",".join(found.suspects.labels)} if found.suspects.labels else {}
    if found.remedy is not None:
        return options | dict([found.remedy]), table.mixture
    unscored = describe_unscored(table, config.window)
    if not unscored:
        further, doubt = _check_parts(table, config)
        return options | further, doubt
    longer = table_of(_with_gaps_to(table.longer_gap_s, found))._replace(ordered=table.ordered)
    further, doubt = _check_parts(longer, config)
    if "--kind" in further:  # single rows have no gaps
        return options | further, doubt
    options |= {"--max-gap": f"{table.longer_gap_s:g}s"} | further
    return options, "; ".join(filter(None, [unscored, doubt]))


def _check_parts(table: Table, config: TrainConfig) -> tuple[dict[str, str], str]:
    """The option that helps, and why, where too little is left to learn from, to compare with, or to promise by."""
    doubts = [_doubt_of(table, each) for each in (config, dataclasses.replace(config, kind="rows", window=1))]
    if not doubts[0] or config.kind != "windows":
        return {}, doubts[0]
    if doubts[1]:
        return {}, doubts[0]
    return {"--kind": "rows"}, f"{doubts[0]}; --kind rows takes each row on its own"


def _doubt_of(table: Table, config: TrainConfig) -> str:
    parts = split(
        table, window=config.window, stride=config.stride, ordered=is_ordered(config.kind, table), seed=config.seed
    )
    try:
        refuse_too_few(parts, len(table.values), config, far=None, needed=2)
    except InputError as error:
        return str(error)
    return ""


def _with_gaps_to(longest_s: float, found: Survey) -> Survey:
    """The same where steps up to so many seconds are no gaps."""
    sources = [
        source._replace(layout=msgspec.structs.replace(source.layout, max_gap_s=longest_s)) for source in found.sources
    ]
    return found._replace(sources=sources)


def _describe_side(values: NDArray[np.float32] | NDArray[np.uint8]) -> str:
    """What to do with a table that lies on its side, "" of others."""
    if not lies_on_its_side(values):
        return ""
    rows, columns = values.shape
    return (
        f"{rows} rows of {columns} columns, and rows differ far more than what stands in each of them: they seem to be "
        "sensors; turn the table round, so that each has a column"
    )


def _times(read: Read, max_gap_s: float | None) -> Times | None:
    if read.times is None:
        return None
    times, recording = read.times, read.recording
    clock, readable = clock_of(longest(times, recording)), np.isfinite(times)
    if clock is None:
        return None
    clock = clock._replace(max_gap_s=max_gap_s)
    known = times[readable]
    steps = np.diff(known)[np.diff(recording[readable]) == 0]
    broken = steps[is_break(steps, 1, clock)]
    step_s = clock.stamp_s or clock.period_s
    regular = np.abs(steps - step_s) <= _JITTER * step_s
    return Times(
        begin=write_time(float(known.min())),
        end=write_time(float(known.max())),
        period_s=clock.period_s,
        regular=float(np.mean(regular | ((steps == 0) & (clock.stamp_s > 0)))),
        gaps=len(broken),
        longest_gap_s=float(broken.max(initial=0.0)),
    )


def _look_at(profile: Profile, found: Survey, planned: Column | None) -> LookedAt:
    name, stamps, suspects = profile.name, found.layout.stamps, found.suspects
    kind = "text" if profile.kinds else "empty"
    if profile.numbers:
        kind = "numbers and text" if profile.kinds else "numbers"
    if stamps is not None and name in stamps.columns:
        kind = "time"
    if name == found.layout.key and planned is None:
        why = "it says whose row it is"
    elif name in suspects.doubts:
        why = suspects.doubts[name].value[0]
    elif name in suspects.labels:
        why = "it is named or set like a label: exclude it if it says what is normal"
    elif name in suspects.rising:
        why = "it only rises or falls: exclude it if it is a counter"
    elif planned is not None and planned.treatment == "constant":
        why = "any other value will be an anomaly"
    elif name in found.sentinels and found.sentinels[name].share:
        why = f"{found.sentinels[name].written} stands for missing"
    else:
        why = found.left_out.get(name, "")
    numbers = (profile.low, profile.median, profile.high) if kind.startswith("numbers") else (None, None, None)
    return LookedAt(
        name,
        kind,
        planned.unit if planned else "",
        *numbers,
        profile.texts if kind != "time" else (),
        profile.kinds,
        profile.missing,
        planned.treatment if planned else "",
        why,
    )


def _describe_time(layout: Layout, times: Times | None) -> str:
    stamps = layout.stamps
    if stamps is None:
        return "no time stamps"
    written = f"numbers of {stamps.pattern}" if stamps.pattern in NUMBERS_OF else stamps.pattern or "ISO 8601"
    form = f"{stamps.named}, {written}, {stamps.zone}"
    if times is None:
        return form
    even = "" if times.regular > _MOSTLY else f" in {times.regular:.0%} of the steps"
    gaps = (
        f"{times.gaps} gap{'s' * (times.gaps > 1)}, the longest {span(times.longest_gap_s)}" if times.gaps else "no gap"
    )
    return f"{form}; {times.begin} to {times.end}, a row every {span(times.period_s)}{even}, {gaps}"


def span(seconds: float) -> str:
    """A time in the unit in which people say it.

    >>> span(0.1), span(90), span(600), span(86400)
    ('0.1 s', '90 s', '10 min', '1 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if (seconds >= size and (seconds / size).is_integer()) or seconds >= 10 * size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s"


def _describe_columns(columns: Sequence[LookedAt]) -> list[str]:
    """A heading, and a line for each."""
    lines: list[tuple[str, ...]] = [("column", "holds", "lowest", "median", "highest", "missing", "taken as", "")]
    for column in columns:
        numbers = ["" if value is None else f"{value:.5g}" for value in (column.low, column.median, column.high)]
        texts = few([repr(text[:_SHOWN_LETTERS]) for text in column.texts]) if column.texts else ""
        more = f" and {column.kinds - len(column.texts)} more" if column.kinds > len(column.texts) and texts else ""
        taken = column.treatment or ("time" if column.kind == "time" else "left out")
        remark = "; ".join(part for part in (texts + more, column.why) if part)
        missing = f"{column.missing:.1%}" if column.missing else ""
        lines.append((column.name[:_SHOWN_LETTERS], column.kind, *numbers, missing, taken, remark))
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return [
        "  ".join(
            f"{cell:>{width}}" if 2 <= place <= 5 else f"{cell:{width}}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
