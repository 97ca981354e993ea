"""Lines for people: causes are told, secrets never."""

from __future__ import annotations

import pytest

from imgmove.cli.messages import Messages
from imgmove.errors import NetworkError


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("Max retries exceeded with url: /b/x?X-Amz-Signature=s3cret&a=b (Caused by y)", "/b/x?… (Caused by y)"),
        ("Invalid header value b'Bearer s3cret\\n'", "Invalid header value…"),
        ("sent Authorization: Basic s3cret, then", "sent Authorization: Basic … then"),
        ("no answer of http://me:s3cret@proxy:3128/", "no answer of http://…"),
        ("is it there? perhaps", "is it there? perhaps"),
    ],
)
def test_causes_are_told_without_secrets(cause: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = NetworkError("the connection broke")
    error.__cause__ = ValueError(cause)
    Messages(is_verbose=True).error(error)
    Messages().error(ValueError(cause))
    text = capsys.readouterr().err
    assert "s3cret" not in text
    assert text.count(told) == 2
