"""Every command and every Python block of the pages is run, and what a page shows is compared with what comes out.

A page is run from top to bottom in a folder of its own. What its text takes for granted (a recording, photos) is in
`provided`. The information string of a block says what is done with it:

- ``console``: commands after ``$``, each followed by all that it prints; ``...`` stands for lines left out
- ``sh``: commands whose output is not shown; they must succeed. What they serve is there until the next commands
- ``python``: run; a ``text`` block right after it is what it prints, and without one it prints nothing
- ``text``: quotes what a command of the page has printed; a page on which nothing is printed draws with it
- ``promql``: names metrics of the table in docs/metrics.md
- ``not-run="REASON"`` after ``console`` or ``sh``: only parsed, for one of `REASONS`

To renew what the pages show: ``VAE_DETECT_WRITE_DOCS=1 pytest tests/test_docs_commands.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import ROOT
from PIL import Image as Pillow
from tiny_images import normal_images

from vae_detect.cli import commands
from vae_detect.runtime.bundle import Image
from vae_detect.runtime.simulation import Fault, csv_lines, simulate

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REASONS = {
    *("installs packages", "needs Docker", "needs public data", "needs systemd", "starts several processes"),
    *("takes minutes", "tells of one machine", "needs a Prometheus", "needs a service", "needs a broker"),
}
"""Why a block may not be run."""

FENCE = re.compile(r'^```(?:(console|sh|python|text|promql)(?: not-run="([^"]*)")?)?$')
HIDDEN = re.compile(r"^ {4,}(\$ |vae-detect|python|pip|make|docker|curl|tail|torchrun|eval |from |import )")
"""A command or code in a block that is indented, which nothing here would run."""

IN_PROCESS = ("train", "finetune", "evaluate")
"""Commands that import torch, which takes longer than most of them: they are run here, all others as processes."""

QUICK_ROWS, QUICK_IMAGES = (
    {"VAE_DETECT_TRAIN_ASSIGNMENTS": settings} for settings in ("epochs=1", "epochs=1 colour=grey")
)
"""For trainings whose output is not shown: options that are not given, set in the environment."""

WRITE = bool(os.environ.get("VAE_DETECT_WRITE_DOCS"))


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Of the fence, from 0."""
    kind: str
    reason: str | None
    """Why it is not run."""
    body: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.page.name}, line {self.line + 1}"

    @property
    def end(self) -> int:
        """The line of the closing fence."""
        return self.line + len(self.body) + 1

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command, lines that go on joined, and what is shown to come out of it."""
        found: list[tuple[str, list[str]]] = []
        for line in self.body:
            if found and found[-1][0].endswith("\\"):
                found[-1] = (found[-1][0].removesuffix("\\") + line.strip(), [])
            elif self.kind == "console" and not line.startswith("$ "):
                found[-1][1].append(line)
            elif line.strip():
                found.append((line.removeprefix("$ ") if self.kind == "console" else line, []))
        return found


def blocks_of(page: Path) -> list[Block]:
    found: list[Block] = []
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        if lines[number].startswith("```"):
            fence = FENCE.match(lines[number])
            assert fence, f"{page.name}, line {number + 1}: {lines[number]} says nothing that is known here"
            assert fence[1], f"{page.name}, line {number + 1}: a block must say what it is"
            end = lines.index("```", number + 1)
            found.append(Block(page, number, fence[1], fence[2], tuple(lines[number + 1 : end])))
            number = end
        number += 1
    return found


# --- what comes out --------------------------------------------------------------------------------------------------

FIGURE = re.compile(r"(\b[0-9a-f]{16}\b|(?<![\w.])\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*[A-Za-z_]))")
CPU_TIME = re.compile(r"\S+ us CPU")
ROUNDING = 1e-4
"""Below this a figure is a difference between two ways to compute the same, and may be any."""


LEARNT, ABOUT = re.compile(r"promised|anomalies|smallest rate|^ *(precision|recall|F1|false) "), 0.2
"""Lines with figures of a network that the page has trained, and how far they may be apart: a processor that sums in
another order ends with other weights, whose calibration rows are worth 97 independent ones instead of 104."""


def same_figure(shown: str, found: str, *, fresh: bool, learnt: bool = False) -> bool:
    """Whole numbers are equal, others within 1 % or one in the last place; the id of a fresh model may be any.

    Figures that are `learnt` are within `ABOUT`.
    """
    if re.fullmatch("[0-9a-f]{16}", shown):
        return shown == found or (fresh and re.fullmatch("[0-9a-f]{16}", found) is not None)
    if shown == found:
        return True
    left, right = float(shown), float(found)
    if learnt:
        return abs(left - right) <= ABOUT * abs(left)
    if shown.isdigit() or found.isdigit():
        return False
    last_place = 0.0 if "e" in shown else 10.0 ** -len(shown.partition(".")[2])
    return max(left, right) < ROUNDING or abs(left - right) <= max(0.01 * abs(left), 1.001 * last_place)


def same_line(shown: str, found: str, *, fresh: bool) -> bool:
    """Words are equal, and figures are alike, however many spaces stand between them. CPU time may be any."""
    left, right = (FIGURE.split(CPU_TIME.sub("CPU", " ".join(text.split()))) for text in (shown, found))
    if len(left) != len(right):
        return False
    learnt = fresh and LEARNT.search(shown) is not None
    figures = zip(left[1::2], right[1::2], strict=True)
    return left[::2] == right[::2] and all(same_figure(*pair, fresh=fresh, learnt=learnt) for pair in figures)


def same_output(shown: Sequence[str], found: Sequence[str], *, fresh: bool = True) -> bool:
    if "..." in shown:
        gap = list(shown).index("...")
        start, end = shown[:gap], shown[gap + 1 :]
        return (
            len(found) > len(start) + len(end)
            and same_output(start, found[: len(start)], fresh=fresh)
            and same_output(end, found[len(found) - len(end) :], fresh=fresh)
        )
    return len(shown) == len(found) and all(
        same_line(one, other, fresh=fresh) for one, other in zip(shown, found, strict=True)
    )


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        ("Threshold 6.88738 from 1140 scores", "Threshold 6.89 from 1140 scores", True),
        ("Threshold 6.88738 from 1140 scores", "Threshold 7.01 from 1140 scores", False),
        ("Threshold 6.88738 from 1140 scores", "Threshold 6.88738 from 1141 scores", False),
        ("Threshold 6.88738 from 1140 scores", "Limit 6.88738 from 1140 scores", False),
        ("ROC-AUC   0.870", "ROC-AUC 0.871", True),
        ("ROC-AUC   0.070", "ROC-AUC 0.072", False),
        ("rate -0.5", "rate 0.5", False),
        ("within 1.4e-06, no flips", "within 9.9e-07, no flips", True),
        ("within 1.4e-06, no flips", "within 1.4e-03, no flips", False),
        ('{"score":4.655184,"row":0}', '{"score":4.655185,"row":0}', True),
        ('{"score":4.655184,"row":0}', '{"score":4.655184,"rows":0}', False),
        ("serving 0123456789abcdef (vae)", "serving fedcba9876543210 (vae)", True),
        ("serving 0123456789abcdef (vae)", "serving fedcba987654321 (vae)", False),
        ("really between 0 and 0.1", "really between 0.0 and 0.1", False),
        ("3390 scores (worth 104): promised 0.025", "3390 scores (worth 97): promised 0.027", True),
        ("3390 scores (worth 104): promised 0.025", "3390 scores (worth 70): promised 0.025", False),
    ],
)
def test_figures_are_alike(shown: str, found: str, same: bool) -> None:
    assert same_output([shown], [found]) is same
    assert same_output(["first", "...", shown], ["first", "second", found]) is same
    assert not same_output([shown], [found, ""])


# --- running ---------------------------------------------------------------------------------------------------------


class Shell:
    """Runs the commands of a page in its folder."""

    made: dict[str, tuple[str, dict[str, bytes]]] = {}  # noqa: RUF012
    """What each training printed and wrote; pages share them."""

    def __init__(self, folder: Path, stand_ins: Path) -> None:
        self.folder, self._serving = folder, list[subprocess.Popen[str]]()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VAE_DETECT_")},
            "PATH": os.pathsep.join([str(stand_ins), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(stand_ins),
            "VAE_DETECT_SERVE_PORT": self.port,  # 8000 may be taken
        }

    def run(self, command: str, *, quick: bool = False) -> list[str]:
        """The lines that a command prints, to standard output and standard error. It must end with 0."""
        command = re.sub(r"\b8000\b", self.port, command)
        words = shlex.split(command, comments=True)
        if words[:2] == ["vae-detect", "serve"]:
            output = self._serve(command)
        elif words[0] == "vae-detect" and words[1] in IN_PROCESS and not {"|", ">", "&&"} & set(words):
            output = self._train(words[1:], quick) if words[1] == "train" else self._call(words[1:])
        else:
            output = self._process("bash", "-e", "-o", "pipefail", "-c", command)
        lines = output.replace(self.port, "8000").splitlines()
        return [line for line in lines if not re.match(r"epoch \d+ of", line)]  # of a slow machine only

    def python(self, code: str) -> list[str]:
        own = code.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        return self._process(sys.executable, "-c", own).splitlines()

    def stop(self) -> None:
        """Ends what is served, which must end well."""
        while self._serving:
            running = self._serving.pop()
            running.terminate()
            rest, _ = running.communicate(timeout=20)
            assert (running.returncode, rest) == (0, "")

    def _process(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, timeout=120, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[-1]}\nexit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def _serve(self, command: str) -> str:
        running = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self._environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._serving.append(running)
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith("serving "), line + running.communicate()[0]
        return line

    def _call(self, arguments: list[str], **environment: str) -> str:
        with chdir(self.folder):
            result = CliRunner(env=environment).invoke(commands, arguments, prog_name="vae-detect")
        assert result.exit_code == 0, f"{shlex.join(arguments)}\n{result.output}\n{result.exception!r}"
        return result.stderr + result.stdout  # the talk comes before the data

    def _train(self, arguments: list[str], quick: bool) -> str:
        """Trains, unless another page has done the same with the same data."""
        data = self.folder / arguments[1]
        files = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        key = shlex.join([*arguments, digest, str(quick)])
        if key not in self.made:
            before = set(self.folder.iterdir())
            settings = QUICK_IMAGES if any(path.suffix == ".png" for path in files) else QUICK_ROWS
            output = self._call(arguments, **settings if quick else {})
            self.made[key] = output, {path.name: path.read_bytes() for path in set(self.folder.iterdir()) - before}
        output, made = self.made[key]
        for name, content in made.items():
            (self.folder / name).write_bytes(content)
        return output


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder and folder of commands: curl fails when it is refused, and `tail -f` ends with its file."""
    folder = tmp_path_factory.mktemp("stand_ins")
    (folder / ".curlrc").write_text("silent\nfail\n")
    tail = folder / "tail"
    words = 'for word in "$@"; do shift; [ "$word" = -f ] || set -- "$@" "$word"; done'
    tail.write_text(f'#!/bin/sh\n{words}\nexec {shutil.which("tail")} "$@"\n')
    tail.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def provided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted."""
    folder = tmp_path_factory.mktemp("provided")
    (folder / "exported").symlink_to(ROOT / "exported")
    faults = [Fault.parse("cavitation@2h+20m"), Fault.parse("leak@5h+30m")]
    quiet, faulty = (simulate(duration_s=8 * 3600, period_s=60, seed=2, faults=some) for some in ([], faults))
    for name, lines in (
        ("normal.csv", csv_lines(simulate(duration_s=86400, period_s=60, seed=1))),
        ("recording.csv", csv_lines(faulty)),
        ("live.csv", csv_lines(quiet)),
        ("faults.csv", csv_lines(faulty, labels=True)),
    ):
        (folder / name).write_text("".join(lines))
    for name, of_day in (("january.csv", 3), ("february.csv", 4), ("logs/pump-1.csv", 5), ("logs/pump-2.csv", 6)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("".join(csv_lines(simulate(duration_s=86400, period_s=60, seed=of_day))))
    (folder / "normal-day.csv").write_text((folder / "january.csv").read_text())
    names, *first = (folder / "january.csv").read_text().splitlines()
    second = (folder / "february.csv").read_text().splitlines()[1:]
    fleet = [
        f"{row},{machine}" for rows in zip(first, second, strict=True) for machine, row in zip("AB", rows, strict=True)
    ]
    (folder / "fleet.csv").write_text("\n".join([f"{names},machine", *fleet]))
    history = [
        f"{stamp},{name},{value}"
        for stamp, *values in (row.split(",") for row in first)
        for name, value in zip(names.split(",")[1:], values, strict=True)
    ]
    (folder / "history.csv").write_text("\n".join(["time,sensor,value", *history]))
    header, *rows = csv_lines(faulty)
    labels = dict.fromkeys(range(122, 138, 4), "1") | dict.fromkeys(range(10, 110, 10), "0")
    reviewed = [f"{row.rstrip()},{labels.get(number, '')}\n" for number, row in enumerate(rows)]
    (folder / "reviewed.csv").write_text("".join([f"{header.rstrip()},label\n", *reviewed]))

    pictures = normal_images(Image(24, 24, "colour"), 76)
    pictures[72:, 8:16, 8:16] = 255 - pictures[72:, 8:16, 8:16]
    for name, part in (
        ("boards/train/good", pictures[:60]),
        ("boards/test/good", pictures[60:68]),
        ("boards/test/scratch", pictures[72:]),
        ("photos", pictures[68:]),
    ):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(part):
            Pillow.fromarray(pixels).save(folder / name / f"{number:03}.png")
    Pillow.fromarray(pictures[-1]).save(folder / "photo.jpg")
    return folder


@pytest.fixture
def shell(page: Path, provided: Path, stand_ins: Path, tmp_path: Path) -> Iterator[Shell]:
    """A folder with what the page takes for granted, but for what its own commands make."""
    makes = set(re.findall(r"--out (\S+)", page.read_text()))
    for path in provided.iterdir():
        if path.name in makes:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, tmp_path / path.name)
        else:
            shutil.copy(path, tmp_path / path.name, follow_symlinks=False)
    shell = Shell(tmp_path, stand_ins)
    try:
        if page.name == "runtime.md":  # goes on where the README ends
            go_through_the_readme(shell)
        yield shell
    finally:
        for running in shell._serving:
            running.kill()


def go_through_the_readme(shell: Shell) -> None:
    """Makes the recording and the models that the README makes."""
    (shell.folder / "normal.csv").unlink()
    for block in blocks_of(ROOT / "README.md"):
        for command, _ in block.commands() if block.reason is None else []:
            if command.startswith(("vae-detect simulate", "vae-detect train")):
                shell.run(command, quick=block.kind == "sh")


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_happens(page: Path, shell: Shell) -> None:
    printed: list[str] = []
    renewed: list[tuple[Block, list[str]]] = []
    before: Block | None = None
    output: list[str] = []
    for block in blocks_of(page):
        if block.reason is not None:
            assert block.reason in REASONS, f"{block.place}: not run, because it {block.reason}"
            for command, _ in block.commands():
                check_parses(command, block.place)
        elif block.kind in ("console", "sh"):
            shown = run_commands(block, shell, printed)
            renewed.append((block, shown))
        elif block.kind == "python":
            output = shell.python("\n".join(block.body))
            follows = next((other for other in blocks_of(page) if other.line > block.line), None)
            shows = follows is not None and prints(block, follows)
            assert shows or not output, f"{block.place}: prints what the page does not show: {output}"
        elif block.kind == "promql":
            table = (ROOT / "docs" / "metrics.md").read_text()
            for name in re.findall(r"vae_detect_\w+", "\n".join(block.body)):
                metric = re.sub("_(bucket|count|sum)$", "", name)  # of a histogram
                assert f"`{metric}" in table, f"{block.place}: {name}"
        elif before is not None and prints(before, block):
            fresh = "exported/" not in "\n".join(before.body)
            renewed.append((block, output))
            assert WRITE or same_output(block.body, output, fresh=fresh), differs(block, block.body, output)
        elif printed:
            for line in block.body:
                assert WRITE or any(same_line(line, other, fresh=True) for other in printed), f"{block.place}: {line}"
        before = block
    shell.stop()
    if WRITE:
        renew(page, renewed)


def run_commands(block: Block, shell: Shell, printed: list[str]) -> list[str]:
    """The lines of a block with what its commands have printed; those are compared with what is shown."""
    lines: list[str] = []
    shell.stop()
    for command, shown in block.commands():
        found = shell.run(command, quick=block.kind == "sh")
        printed += found
        if block.kind == "console" and not WRITE:
            alike = same_output(shown, found, fresh="exported/" not in command)
            assert alike, f"$ {command}\n{differs(block, shown, found)}"
        lines += [f"$ {command}", *cut_like(shown, found)] if block.kind == "console" else [command]
    return lines


def cut_like(shown: Sequence[str], found: Sequence[str]) -> Sequence[str]:
    """The lines that came out, without as many in the middle as are left out of what is shown."""
    if "..." not in shown:
        return found
    gap = list(shown).index("...")
    return [*found[:gap], "...", *found[len(found) - len(shown) + gap + 1 :]]


def prints(code: Block, output: Block) -> bool:
    """Whether a block is what the one right above it prints."""
    return code.kind == "python" and output.kind == "text" and output.line == code.end + 2


def differs(block: Block, shown: Sequence[str], found: Sequence[str]) -> str:
    return "\n".join([f"{block.place} shows", *shown, "instead of", *found])


def renew(page: Path, renewed: list[tuple[Block, list[str]]]) -> None:
    lines = page.read_text().splitlines()
    for block, output in reversed(renewed):
        if block.kind != "sh":
            lines[block.line + 1 : block.end] = output
    page.write_text("\n".join(lines) + "\n")


def check_parses(command: str, place: str) -> None:
    """What is not run still names files, targets, extras, commands and options that exist."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words.pop(0)
    if "-m" in words and words[words.index("-m") + 1] == "vae_detect":
        words = ["vae-detect", *words[words.index("-m") + 2 :]]
    program, *arguments = words
    said = f"{place}: {command}"
    if program == "vae-detect":
        context = click.Context(commands)
        subcommand = commands.get_command(context, arguments[0])
        assert subcommand is not None, said
        given, _, _ = subcommand.make_parser(click.Context(subcommand)).parse_args(arguments[1:])
        named = [library.partition("=")[0] for library in given.get("ep_library") or ()]
        for option in subcommand.params:
            value = given.get(option.name or "")
            if isinstance(option.type, click.Choice) and value is not None:
                assert value in (*option.type.choices, *named), said
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert [word for word in arguments if "=" not in word and word not in targets] == [], said
    elif program.startswith("python") and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), said
    elif program.endswith("pip"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = re.findall(r"\[([\w,]+)\]", command)
        assert [extra for group in named for extra in group.split(",") if extra not in extras] == [], said
    elif program in ("cp", "install", "systemctl"):
        ours = [word for word in arguments if word.startswith(("deploy/", "exported/"))]
        assert [word for word in ours if not (ROOT / word).is_file()] == [], said
    else:
        assert program.startswith(("python", "docker")), said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_hides_in_a_block_that_is_not_run(page: Path) -> None:
    fenced = {number for block in blocks_of(page) for number in range(block.line, block.end + 1)}
    lines = enumerate(page.read_text().splitlines())
    assert [line for number, line in lines if number not in fenced and HIDDEN.match(line)] == []
    for block in blocks_of(page):
        assert block.reason is None or block.kind in ("console", "sh"), block.place
        assert block.kind != "text" or "vae-detect " not in "\n".join(block.body), block.place
