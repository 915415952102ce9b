"""Test the CNJ number: both forms are accepted, and each error names what is wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidRequest
from storage.portal.slots import court_of
from storage.process_number import check_digits, digits, parse_process_number, punctuated

KNOWN = ("1003579-22.2025.8.26.0564", "1011745-77.2025.8.11.0041")
COURTS = (
    *("1.00", "2.00", "3.00", "4.01", "4.06", "4.90", "5.00", "5.01", "5.24", "5.90"),
    *("6.00", "6.01", "6.27", "7.00", "7.01", "7.12", "8.01", "8.27", "9.13", "9.21", "9.26"),
)
NO_COURTS = (
    *("0.00", "1.01", "2.01", "3.01", "4.00", "4.07", "4.91", "5.25", "5.89", "6.28", "6.90"),
    *("7.13", "7.90", "8.00", "8.28", "9.00", "9.12", "9.14", "9.27"),
)


def _number(court: str, serial: str = "1003579", year: str = "2025", origin: str = "0564") -> str:
    plain = court.replace(".", "")
    return f"{serial}-{check_digits(serial + year + plain + origin)}.{year}.{court}.{origin}"


def _refusal(text: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_process_number(text)
    (violation,) = caught.value.violations
    assert violation.field == "process_number"
    return violation.description


@pytest.mark.parametrize("number", KNOWN)
def test_both_forms_give_the_punctuated_one(number: str) -> None:
    assert parse_process_number(number) == number
    assert parse_process_number(digits(number)) == number
    assert parse_process_number(f" \t{number}\r\n") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1011745-77.2025.8.11.004",
        "1011745-77.2025.8.11.00411",
        "1011745-7720258110041",
        "1011745.77.2025.8.11.0041",
        "1011745-77.2025.811.0041",
        "1011745 -77.2025.8.11.0041",
        "nº 1011745-77.2025.8.11.0041",
        "1011745-77.2025.8.11.0041\x00",
        "\uff11\uff10\uff11\uff11\uff17\uff14\uff15-77.2025.8.11.0041",
        "١٠١١٧٤٥٧٧٢٠٢٥٨١١٠٠٤١",
        "1011745−77.2025.8.11.0041",  # noqa: RUF001 - a minus sign is meant
        "9" * 10_000,
    ],
)
def test_any_other_form_is_refused_with_both_accepted_ones(text: str) -> None:
    sentence = _refusal(text)
    assert "NNNNNNN-DD.AAAA.J.TR.OOOO" in sentence
    assert "20 digits" in sentence


@pytest.mark.parametrize("given_digits", ["78", "00", "01", "99"])
def test_wrong_check_digits_are_reported_with_the_right_ones(given_digits: str) -> None:
    sentence = _refusal(f"1011745-{given_digits}.2025.8.11.0041")
    assert sentence == f"the check digits must be 77, not {given_digits}"


def test_check_digits_that_only_agree_modulo_97_are_refused() -> None:
    number = next(n for n in (_number("8.26", f"{i:07d}") for i in range(1_000)) if "-98." in n)
    twin = number.replace("-98.", "-01.")
    for each in map(digits, (number, twin)):
        assert int(each[:7] + each[9:] + each[7:9]) % 97 == 1
    assert _refusal(twin) == "the check digits must be 98, not 01"


@pytest.mark.parametrize("court", COURTS)
def test_courts_that_exist_are_taken(court: str) -> None:
    number = _number(court)
    assert parse_process_number(number) == number
    assert court_of(number) == court


@pytest.mark.parametrize("court", NO_COURTS)
def test_courts_that_do_not_exist_are_refused_by_name(court: str) -> None:
    assert _refusal(_number(court)) == f"there is no court {court} (J.TR)"


@given(
    serial=st.integers(0, 9_999_999),
    year=st.integers(0, 9_999),
    court=st.sampled_from(COURTS),
    origin=st.integers(0, 9_999),
)
def test_check_digits_round_trip(serial: int, year: int, court: str, origin: int) -> None:
    number = _number(court, f"{serial:07d}", f"{year:04d}", f"{origin:04d}")
    assert parse_process_number(digits(number)) == number
    assert "02" <= number[8:10] <= "98"


@given(position=st.integers(0, 19), digit=st.integers(0, 9))
def test_one_wrong_digit_is_always_noticed(position: int, digit: int) -> None:
    right = digits(KNOWN[0])
    wrong = right[:position] + str(digit) + right[position + 1 :]
    if wrong != right:
        _refusal(wrong)


@given(st.text())
def test_any_text_is_taken_or_refused_as_a_request(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert digits(parse_process_number(text)) == digits(text.strip())


@pytest.mark.parametrize("number", KNOWN)
def test_digits_get_their_punctuation_back(number: str) -> None:
    assert punctuated(digits(number)) == number
