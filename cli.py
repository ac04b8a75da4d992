"""The command line: which commands there are, their order, and how errors become exit codes.

A command's module is loaded only when it is called, so that help is quick and a box needs nothing of the workstation.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from vae_detect import __version__
from vae_detect.runtime.commands.terminal import leads, needs, say
from vae_detect.runtime.errors import EXIT_BROKEN_PIPE, VaeDetectError

if TYPE_CHECKING:
    from vae_detect.runtime.batch.codes import CodePlot

EPILOG = (
    "Exit codes: 0 fine; 1 anomalies found, with --fail-on-anomaly; 2 bad usage or input; "
    "3 something is not installed; 4 done, but some images could not be read."
)

HEADINGS: dict[str, dict[str, str]] = {
    "On the workstation": {
        "recipes": "List the recipes, the families of autoencoders that `train --recipe NAME` knows.",
        "train": "Learn from DATA, a CSV of normal operation or a folder of normal images.",
        "evaluate": "Measure a detector on labelled data, beside a z-score and chance.",
        "finetune": "Correct a detector by a handful of confirmed faults and false alarms.",
    },
    "On the box": {
        "inspect": "Show what a detector is.",
        "score": "Score a CSV or a folder of images to a CSV, or standard input line by line.",
        "serve": "Serve a detector over HTTP, with metrics for Prometheus.",
        "health": "Exit with 0 when a running service is ready, for container health checks.",
        "encode": "Write the code of every row or image.",
        "reconstruct": "Write what the model expects instead of every row or image.",
        "sample": "Write new rows, windows or images like those that the model learnt from.",
        "simulate": "Simulate a pump station: normal operation, and faults by name and time.",
    },
}
"""The commands in the order of a user's day, with what each does; NAME is in runtime/commands or training/commands."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in HEADINGS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        half = "training" if cmd_name in HEADINGS["On the workstation"] else "runtime"
        command: click.Command = getattr(import_module(f"vae_detect.{half}.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", summary) for name, summary in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError:
            _let_the_first_speak()
            raise
        except VaeDetectError as error:
            _let_the_first_speak()
            say(f"Error: {error}")
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader (`| head`) has gone: nobody to talk to, which must not fail again when Python flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_BROKEN_PIPE)


def _let_the_first_speak() -> None:
    """Waits, before a process that is not the first ends with an error, for the first to say the same.

    torchrun ends all processes as soon as one ends with an error. What only this process met is said after the wait.
    """
    if not leads():
        time.sleep(10)


@click.group(
    cls=_Commands, epilog=EPILOG, context_settings={"auto_envvar_prefix": "VAE_DETECT", "max_content_width": 100}
)
@click.version_option(__version__, prog_name="vae-detect")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Anomaly detection with autoencoders: train on a workstation, score on the box next to the machine.

    Every option can also be set in the environment, as VAE_DETECT_COMMAND_OPTION: VAE_DETECT_SERVE_PORT=9000.
    """
    ctx.obj = _code_plot


def _code_plot() -> CodePlot:
    """Draws codes for `encode`: the box has no Matplotlib, so the runtime gets this handed in."""
    with needs("train"):
        from vae_detect.training.evaluation.code_plot import draw_codes
    return draw_codes


def main() -> None:
    """Entry point of ``vae-detect`` and ``python -m vae_detect``."""
    commands(prog_name="vae-detect")
