"""CSV that a spreadsheet may open: no cell of a stranger's is calculated."""

import csv
import io

import pytest

from dialer.core.csv_writing import csv_text, safe_cell
from dialer.core.number_list import numbers_in


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\u00a0 @A1", "\ufeff=1", "\u200b-1+1"),
        *("\tAna", "\rAna", "\nAna", "\uff1d1+1", "\uff0b1+1", "\uff0d1+1", "\uff20SUM(A1)", " +34910000000"),
    ],
)
def test_a_formula_becomes_text(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("Ana;=cmd|' /C calc'!A0;", "Ana;'=cmd|' /C calc'!A0;"),
        ("Ana\t@SUM(A1)", "Ana\t'@SUM(A1)"),
        ("Ana\r\n =1", "Ana\r'\n' =1"),
        ('a; "\uff1d1', "a;' \"\uff1d1"),
        ("+34;=1", "'+34;'=1"),
        ("\t=1", "'\t'=1"),
    ],
)
def test_a_cell_that_another_separator_would_cut_is_no_formula_behind_it_either(cell: str, safe: str) -> None:
    assert safe_cell(cell) == safe


@pytest.mark.parametrize(
    "cell", ["+34910000000", "-1.5", "Ana", "", "a=b", "2025-03-01", "17", "a; b", "a - b", "x+y;z"]
)
def test_everything_else_stays_as_it_is(cell: str) -> None:
    assert safe_cell(cell) == cell


def test_commas_quotes_and_lines_survive_the_way_out_and_in() -> None:
    rows = [["a,b", 'say "no"', "two\nlines", None, 7]]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == [["a,b", 'say "no"', "two\nlines", "", "7"]]


def test_numbers_are_read_from_a_named_column_or_the_first_with_their_lines() -> None:
    assert list(numbers_in("name;phone\nAna;+1\n;\nBea; +2 \nCid;\n")) == [(2, "+1"), (4, "+2")]
    assert list(numbers_in("\n+1\n+2,x\n")) == [(2, "+1"), (3, "+2")]
    assert list(numbers_in("")) == []
    assert list(numbers_in("sep=;\r\nname;phone\r\nGil, Ana;+1\r\n")) == [(3, "+1")]


def test_a_quote_that_never_ends_is_named_by_its_line() -> None:
    with pytest.raises(ValueError, match="line 2 is no CSV"):
        list(numbers_in('+1\n"+2\n'))
