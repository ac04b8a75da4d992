"""What a layout may say together."""

import msgspec
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, Resampling


def test_rows_of_several_machines_are_not_brought_to_one_grid() -> None:
    with pytest.raises(InputError, match="--key does not go with --resample"):
        msgspec.structs.replace(Layout(key="machine"), resampling=Resampling(60))
