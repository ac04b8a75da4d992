"""The option of `evaluate` and `finetune` that says what a label means."""

from __future__ import annotations

import click

anomaly_label_option = click.option(
    "--anomaly-label",
    multiple=True,
    metavar="VALUE",
    help="A label that means an anomaly, where that is not plain; all others are normal then. Again for more.",
)
