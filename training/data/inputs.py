"""The data of a run: loaded as the settings say, refused where it is too little, put in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.images.folders import image_files
from ...runtime.layout import Layout
from ...runtime.rows.table_files import is_table
from ..settings.config import TrainConfig
from .images import load_images
from .loading import Table, load_table
from .neighbours import is_evident
from .selection import Selection
from .split import Split

_OPTIONS = {"treatments": "treat", "missing_values": "missing-value", "limits": "limit"}
"""Options that are not called like what they set of a `Selection`."""


def load(data: Path | Sequence[Path], config: TrainConfig, selection: Selection, layout: Layout) -> Table:
    """The table or the images of a run.

    Raises
    ------
    InputError
        when the data is not of the kind that the settings name, a selection or a setting would be left out in silence,
        or the data cannot be used (see `load_table` and `load_images`)
    """
    recipe = config.ingredients
    wants_class = recipe.prior == "classes"
    named = [data] if isinstance(data, Path) else data
    if config.kind == "images":
        folder = next((path for path in named if not path.is_dir()), named[0])
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder, expected one with images for kind images")
        if len(named) > 1:
            raise InputError(f"{named[1]}: is one folder too many, expected one with all images for kind images")
        _refuse_selection(selection)
        return load_images(folder, config.size, config.colour, by_class=wants_class, normal=selection.normal)
    if selection.normal:
        raise InputError(f"--normal names folders of images, and {named[0]} is a table")
    for name in ("size", "colour"):
        if getattr(config, name) != getattr(TrainConfig, name):
            raise InputError(f"setting {name} is for images, and {named[0]} is a table")
    if wants_class and selection.class_column is None:
        raise InputError(f"recipe {config.recipe} needs the class of each row: name its column with --class-column")
    if not wants_class and selection.class_column is not None:
        raise InputError(f"--class-column is for recipe cvae, this is {config.recipe}")
    table = load_table(data, selection, layout, numbers_only=config.ingredients.training == "contrastive-divergence")
    return table._replace(ordered=is_evident(table.values, table.segment))


def holds_images(folder: Path) -> bool:
    """Whether a folder is one of images: it holds more of them, below it too, than tables."""
    try:
        images = len(image_files(folder).files)
    except InputError:
        return False
    return images > sum(map(is_table, folder.iterdir()))


def _refuse_selection(selection: Selection) -> None:
    """Refuses for images what would be left out in silence."""
    for name, chosen in vars(selection).items():
        if chosen and name != "normal":
            option = _OPTIONS.get(name, name.replace("_", "-"))
            raise InputError(f"--{option} is for tables; images have no columns")


def refuse_too_few(parts: Split, rows: int, config: TrainConfig, *, far: float | None, needed: int) -> None:
    """Refuses a split of so many rows when a part is empty, or calibration has fewer than `needed` for this rate."""
    what, unit = _inputs_text(config), "images" if config.kind == "images" else "rows"
    if not len(parts.train) or not len(parts.validation) or len(parts.calibration) < 2:
        raise InputError(f"{rows} usable {unit} are too few to split into training, validation and calibration {what}")
    if far is not None and len(parts.calibration) < needed:
        lowest = 1 / (len(parts.calibration) + 1)
        step = 10.0 ** (math.floor(math.log10(lowest)) - 1)  # rounded up, or it would be refused in its turn
        raise InputError(
            f"a false-alarm rate of {far:.3g} needs {needed} calibration {unit}, a fifth of these {rows} {unit} "
            f"gives {len(parts.calibration)}; record more, or ask for --far {math.ceil(lowest / step) * step:.2g}"
        )


def describe_sizes(table: Table, parts: Split, config: TrainConfig, *, ordered: bool) -> str:
    """How much there is to learn from, for the terminal."""
    what = _inputs_text(config)
    image = table.image is not None
    shape = f"{len(table.names)} columns" if table.image is None else "x".join(map(str, table.image.shape)) + " values"
    return (
        f"{len(table.values)} {'images' if image else 'rows'} of {shape}: {len(parts.train)} {what} to train, "
        f"{len(parts.validation)} to validate, {len(parts.calibration)} to calibrate, "
        + (
            "in blocks along the recording"
            if ordered
            else "shuffled" + ", since nothing says that they follow each other" * (not image)
        )
    )


def _inputs_text(config: TrainConfig) -> str:
    return f"windows of {config.window} rows" if config.kind == "windows" else config.kind
