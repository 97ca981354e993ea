"""Documents of others, as texts with their lines."""

from __future__ import annotations

import pytest

from imgmove.errors import MalformedContent
from imgmove.wire.yaml.documents import Text, read_documents


def test_everything_is_text_and_knows_its_line() -> None:
    first, second = read_documents(b"a: 1.20\nb: [yes, 2020-01-01, null]\n---\n- x\n")
    assert first == {"a": "1.20", "b": ["yes", "2020-01-01", "null"]}
    assert isinstance(first, dict)
    assert isinstance(first["a"], Text)
    assert first["a"].line == 1
    assert isinstance(second, list)
    assert isinstance(second[0], Text)
    assert second[0].line == 4


def test_what_came_before_a_mistake_is_not_lost() -> None:
    documents = read_documents(b"a: b\n---\nc: [\n")
    assert next(documents) == {"a": "b"}
    with pytest.raises(MalformedContent, match="line"):
        next(documents)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: *nothing", b"[" * 10_000, b"\x00"])
def test_what_is_none(content: bytes) -> None:
    with pytest.raises(MalformedContent):
        list(read_documents(content))
