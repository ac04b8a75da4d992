"""vae-detect finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...runtime.commands.options import DataPath, NamedPath, OutPath, cell_options, model_files, table_form
from ...runtime.commands.terminal import needs, say
from ...runtime.output import keep_inputs
from .label_options import anomaly_label_option
from .made import print_made


@click.command()
@click.option("--model", "-m", required=True, type=NamedPath(), help="The scorer to start from, NAME.onnx.")
@click.option(
    "--labels",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="CSV with the model's columns and one with labels: 1 a confirmed fault, 0 a confirmed false alarm or a normal "
    "row, empty where nobody has looked.",
)
@click.option(
    "--label-column",
    default="label",
    show_default=True,
    metavar="NAME",
    help="The column with the labels; or a CSV file with one such column, or with ranges of time in columns start and "
    "end, which are confirmed faults unless a column label says otherwise, like the labels.csv of `events`.",
)
@anomaly_label_option
@click.option(
    "--data",
    multiple=True,
    type=DataPath(),
    help="Recording of normal operation to set the new threshold by; again for more. All that the model was trained on "
    "will do.  [default: the rows of --labels that are no confirmed faults]",
)
@click.option(
    "--out",
    type=OutPath(),
    help="The scorer to write; its encoder and decoder go beside it.  [default: NAME.finetuned.onnx beside the model]",
)
@click.option(
    "--overridable",
    is_flag=True,
    help="Let threshold, noise and p-value table be inputs of the scorer, with defaults. ONNX Runtime warns of each.",
)
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@cell_options
def finetune(
    model: Path,
    labels: Path,
    label_column: str,
    anomaly_label: tuple[str, ...],
    data: tuple[Path, ...],
    out: Path | None,
    force: bool,
    overridable: bool,
    as_json: bool,
    **form: Any,
) -> None:
    """Correct a detector by a handful of confirmed faults and false alarms.

    Rows like a confirmed fault score higher afterwards, rows like a confirmed false alarm lower; far from all labels
    nothing changes. The threshold is set anew, for the false-alarm rate that the model promised. The model stays as it
    is; to add labels later, start from it again with all of them.

    \b
    vae-detect finetune --model pump.onnx --labels reviewed.csv
    vae-detect finetune --model pump.onnx --labels reviewed.csv --data normal.csv --out pump2.onnx
    """
    out = out or model.with_name(f"{model.stem}.finetuned.onnx")
    keep_inputs(model_files(out), [labels, *data, *model_files(model)])
    with needs("train"):
        from ..finetune import finetune as run

        made = run(
            model,
            labels,
            out,
            label_column=label_column,
            anomalous=anomaly_label,
            data=data,
            layout=table_form(**form),
            force=force,
            overridable=overridable,
            say=say,
        )
    print_made(made.files, made.bundle, as_json=as_json)
