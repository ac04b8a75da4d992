"""Where files can be written, and how many can be open."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

from .findings import Finding
from .system import System, in_bytes

LEAST_FREE_BYTES = 100 << 20
FULL_BYTES = 1 << 20
"""Below the first a disk is worth a look, below the second nothing can be written."""

LEAST_OPEN_FILES = 1024


def check_folder(check: str, folder: Path) -> Finding:
    """How much room there is, and whether a file can be written."""
    try:
        space = os.statvfs(folder)
    except OSError as error:
        return Finding(check, "wrong", f"{folder}: {error.strerror}", "change to a folder that exists")
    free = space.f_bavail * space.f_frsize
    writable = _is_writable(folder)
    found = f"{folder}: {in_bytes(free)} free, {'can be written' if writable else 'cannot be written'}"
    facts: dict[str, object] = {"folder": str(folder), "free_bytes": free, "writable": writable}
    no_names_left = space.f_files > 0 and space.f_favail == 0
    if free < FULL_BYTES or no_names_left:
        what = "no room for more files (inodes)" if no_names_left else "full"
        return Finding(check, "wrong", f"{found}; {what}", f"make room: du -xh {folder} | sort -h | tail", facts)
    if not writable:
        return Finding(check, "look", found, "fine for `serve`; commands with --out need another folder", facts)
    if free < LEAST_FREE_BYTES:
        return Finding(check, "look", found, f"make room: du -xh {folder} | sort -h | tail", facts)
    return Finding(check, "fine", found, facts=facts)


def check_current_folder() -> Finding:
    try:
        return check_folder("folder", Path.cwd())
    except FileNotFoundError:
        return Finding("folder", "wrong", "the current folder was removed", "cd to one that exists")


def check_temporary_folder() -> Finding:
    try:
        return check_folder("temporary", Path(tempfile.gettempdir()))
    except FileNotFoundError:  # none of the usual ones can be written
        advice = "fine for `serve`; TMPDIR=FOLDER names another one"
        return Finding("temporary", "look", "no folder for temporary files can be written", advice)


def check_open_files(system: System) -> Finding:
    """How many files and connections this process may hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = system.count("proc/self/fd")
    most, highest = (None if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    found = f"{'any number' if most is None else most} may be open, a connection of a service is one"
    facts: dict[str, object] = {"most": most, "can_be_raised_to": highest, "open": used}
    if most is None or most >= LEAST_OPEN_FILES:
        return Finding("open files", "fine", found, facts=facts)
    advice = "LimitNOFILE= in the systemd unit, or docker --ulimit nofile=1024"
    if highest is None or highest > most:
        advice = f"ulimit -n {min(highest or LEAST_OPEN_FILES, LEAST_OPEN_FILES)} before `serve`, or {advice}"
    return Finding("open files", "look", found, advice, facts)


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
