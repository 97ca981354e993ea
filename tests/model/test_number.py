"""Numbers in texts of others: plain ones are read, everything else is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.model.number import read_decimal


@given(st.integers(0, 10**18 - 1))
def test_numbers_are_read(number: int) -> None:
    assert read_decimal(str(number)) == number


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_none(text: str) -> None:
    number = read_decimal(text)
    assert number is None or text.lstrip("0") in (str(number), "")


@pytest.mark.parametrize(
    "text", [None, "", " 1", "1 ", "+1", "-1", "1_0", "0x1", "1.0", "²", "٣", "9" * 19, "9" * 5000]
)
def test_what_is_no_number(text: str | None) -> None:
    assert read_decimal(text) is None
