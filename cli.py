"""The command line: which commands there are, their order, and how errors become exit codes.

A command's module is loaded only when it is called, so that help is quick and a box needs nothing of the workstation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from vae_detect import __version__
from vae_detect.runtime.commands.process import exit_code_of, flush_output, open_streams
from vae_detect.runtime.commands.terminal import leads, needs
from vae_detect.runtime.errors import VaeDetectError
from vae_detect.runtime.stopping import stop_on_signals

if TYPE_CHECKING:
    from vae_detect.runtime.batch.codes import CodePlot

EPILOG = """\b
Exit codes:
  0    fine
  1    anomalies were found, with --fail-on-anomaly
  2    wrong usage or input
  3    the environment: a package is missing, the disk is full, a stream is closed
  4    done, but images could not be read or no row could be used; or, with
       --on-bad-row fail, stopped at a bad one
  5    a fault of vae-detect: please report it
  129, 130, 143    stopped by SIGHUP, SIGINT (Ctrl-C) or SIGTERM
  141  the reader of standard output has gone
"""

HEADINGS: dict[str, dict[str, str]] = {
    "On the workstation": {
        "look": "Say what is in DATA, a CSV, and how `train` would take it, before anything is trained.",
        "recipes": "List the recipes, the families of autoencoders that `train --recipe NAME` knows.",
        "train": "Learn from DATA, a CSV of normal operation or a folder of normal images.",
        "evaluate": "Measure a detector on labelled data, beside a z-score and chance.",
        "finetune": "Correct a detector by a handful of confirmed faults and false alarms.",
    },
    "On the box": {
        "calibrate": "Set the threshold of a detector anew by recordings of normal operation, without PyTorch.",
        "inspect": "Show what a detector is.",
        "backtest": "Say which alarms a detector would have given over a recording, day by day.",
        "score": "Score a CSV or a folder of images to a CSV, or standard input line by line.",
        "stream": "Score samples as they come: from MQTT, a file that grows, a pipe, HTTP or Prometheus.",
        "serve": "Serve a detector over HTTP, with metrics for Prometheus.",
        "events": "Show the events that a service keeps, and say what they were.",
        "dashboard": "Write dashboards for Grafana or Perses, of what a service tells Prometheus.",
        "health": "Exit with 0 when a running service is ready, for container health checks.",
        "encode": "Write the code of every row or image.",
        "reconstruct": "Write what the model expects instead of every row or image.",
        "sample": "Write new rows, windows or images like those that the model learnt from.",
        "doctor": "Look at this machine when something is odd, a line for each check.",
        "simulate": "Simulate a pump station: normal operation, and faults by name and time.",
    },
}
"""The commands in the order of a user's day, with what each does; NAME is in runtime/commands or training/commands."""


_WRITES_GRAPHS = ("calibrate",)
"""Commands of the box that need onnx, which runtime/ has not."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in HEADINGS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        half = "training" if cmd_name in (*HEADINGS["On the workstation"], *_WRITES_GRAPHS) else "runtime"
        command: click.Command = getattr(import_module(f"vae_detect.{half}.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", summary) for name, summary in commands.items()])

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _reader_may_go():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _reader_may_go():
                return super().invoke(ctx)
        except (click.UsageError, VaeDetectError):
            if ctx.invoked_subcommand == "train" and not leads():
                time.sleep(10)  # for the first to say the same: torchrun ends all as soon as one ends with an error
            raise

    def main(self, *args: Any, **extra: Any) -> Any:
        is_program = extra.get("standalone_mode", True)
        extra["standalone_mode"] = False  # or click would end it, with codes of its own
        if not is_program:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra) or 0
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort as error:  # click's word for Ctrl-C, but for an end of file too
            code = exit_code_of(error.__cause__ or KeyboardInterrupt())
        except BaseException as error:
            code = exit_code_of(error)
        sys.exit(flush_output(code))


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """The exit code for a reader that has gone, which click would make 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(exit_code_of(error)) from None


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
    if leads():
        stop_on_signals()
    open_streams()
    commands(prog_name="vae-detect")
