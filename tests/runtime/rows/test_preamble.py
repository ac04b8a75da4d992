"""Where a table begins."""

from vae_detect.runtime.layout import Declared
from vae_detect.runtime.rows.preamble import header_row, read_at


def begins(text: str, delimiter: str = ",") -> int:
    return header_row(read_at(text.split("\n"), delimiter, Declared()), (), Declared())


def test_comments_say_nothing_of_the_width() -> None:
    assert read_at(["# of us", "# of you", "# of them", "a;b", "1;2"], ";", Declared()).width == 2
    assert read_at(["# only", "# comments"], ";", Declared()).width == 1


def test_the_last_comment_as_wide_as_the_table_names_its_columns() -> None:
    assert begins("# made at noon, by us\n# 1. a, in m\n# end\n# a,b\n1,2\n3,4") == 3
    assert begins("# a,b\n# m,s\n1,2\n3,4") == 0  # units below them


def test_lines_that_are_wider_than_the_table_stand_above_it() -> None:
    assert begins("site,1,2,3,4,5\nweeks,1,2\n1,2,3,4\n5,6,7,8\n9,10,11,12") == 2
    assert begins("a,b,c,d,note\n1,2,3,4\n5,6,7,8\n9,10,11,12") == 0  # the last column is empty
