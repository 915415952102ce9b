"""Test the values of the command's options, and the sentences that refuse others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from autos.cli.main import main
from autos.cli.options import parser

NUMBER = "1003579-22.2025.8.26.0564"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("7200", timedelta(hours=2)),
        ("90s", timedelta(seconds=90)),
        ("59m", timedelta(minutes=59)),
        ("12h", timedelta(hours=12)),
        ("1.5d", timedelta(hours=36)),
    ],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, expected: timedelta) -> None:
    options = parser().parse_args(["subscribe", NUMBER, "--interval", text])

    assert options.interval == expected


@pytest.mark.parametrize("text", ["x", "h", "12 hours", "-1", "nan", "4000d", ""])
def test_no_duration_is_refused_with_an_example(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["subscribe", NUMBER, f"--interval={text}"])

    assert ended.value.code == 2
    assert f"{text} is no duration; write seconds, or such as 30m" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--kind", "--document"])
def test_an_unset_variable_selects_nothing_unnoticed(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["start", NUMBER, flag, ""])

    assert ended.value.code == 2
    assert f"argument {flag}: the value is empty" in capsys.readouterr().err
