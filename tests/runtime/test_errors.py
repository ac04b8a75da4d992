from __future__ import annotations

import pytest

from vae_detect.runtime.errors import (
    EXIT_ENVIRONMENT,
    EXIT_REFUSED,
    EXIT_USAGE,
    InputError,
    MissingExtraError,
    ModelError,
    ParityError,
    ProviderError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    VaeDetectError,
    few,
    first_line,
)


@pytest.mark.parametrize(
    ("error", "builtin", "exit_code"),
    [
        (InputError, ValueError, EXIT_USAGE),
        (TooLargeError, InputError, EXIT_USAGE),
        (RefusedError, InputError, EXIT_REFUSED),
        (UnavailableError, OSError, EXIT_ENVIRONMENT),
        (ModelError, ValueError, EXIT_USAGE),
        (ProviderError, RuntimeError, EXIT_ENVIRONMENT),
        (MissingExtraError, ImportError, EXIT_ENVIRONMENT),
        (ParityError, RuntimeError, EXIT_USAGE),
    ],
)
def test_every_error_is_ours_and_a_builtin(
    error: type[VaeDetectError], builtin: type[Exception], exit_code: int
) -> None:
    assert issubclass(error, VaeDetectError)
    assert issubclass(error, builtin)
    assert error.exit_code == exit_code
    assert str(error("what to do")) == "what to do"


def test_an_input_error_keeps_where_it_was() -> None:
    error = InputError("no number", row=3, column="flow")
    assert (str(error), error.row, error.column) == ("no number", 3, "flow")
    assert (InputError("x").row, InputError("x").column, InputError("x").rows) == (None, None, 0)


@pytest.mark.parametrize(
    ("names", "most", "expected"), [("", 3, ""), ("abc", 3, "a, b, c"), ("abcd", 3, "a, b, c and 1 more")]
)
def test_a_list_of_names_is_short(names: str, most: int, expected: str) -> None:
    assert few(names, most) == expected
    assert len(few(map(str, range(10_000)))) < 40


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("\n no such node\nat line 3"), "no such node"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 300), "x" * 200),
        ("one\ntwo", "one"),
    ],
)
def test_what_others_say_becomes_one_line(error: Exception | str, expected: str) -> None:
    assert first_line(error) == expected
