"""The file of a range, and errors that name the server and not the file."""

from __future__ import annotations

import pytest
from answering import answering
from test_range_reader import GRID, reply

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.prometheus.client import Client
from vae_detect.runtime.prometheus.fetching import fetched
from vae_detect.runtime.prometheus.range_reader import RangeReader


def test_the_file_is_a_csv_and_goes_away() -> None:
    with answering(reply(({"m": "p1"}, {0: "1", 30: "2"}))) as (address, _):
        reader = RangeReader(Client(address), {"flow [l/s]": "x"}, key="m", most_points=100)
        with fetched(reader, GRID) as (path, rows):
            assert (rows, path.read_text()) == (2, "time,m,flow [l/s]\n0,p1,1\n30,p1,2\n")
    assert not path.parent.exists()


def test_errors_name_the_server() -> None:
    with answering(reply(({}, {0: "1"}))) as (address, _):
        reader = RangeReader(Client(address), {"a": "x"}, most_points=100)
        with pytest.raises(InputError) as refused, fetched(reader, GRID) as (path, _):
            raise InputError(f"{path}: column 'b' is missing", column="b")
    assert (str(refused.value), refused.value.column) == (f"{address}: column 'b' is missing", "b")
    assert not path.parent.exists()


def test_nothing_at_all_is_refused() -> None:
    with answering(reply()) as (address, _):
        reader = RangeReader(Client(address), {"a": "x"}, most_points=100)
        with pytest.raises(InputError, match="no series for --query a=x"), fetched(reader, GRID):
            pass
