"""Test the digests that an answer states of its body, in the forms of three RFCs."""

from __future__ import annotations

import base64
import hashlib

import pytest

from actors.portal.stated_digests import StatedDigests

BODY = b"%PDF-1.7 the file %%EOF"


def _agree(*fields: tuple[str, str]) -> bool:
    digests = StatedDigests(dict(fields))
    digests.feed(BODY[:7])
    digests.feed(BODY[7:])
    return digests.agree()


def _text(name: str, body: bytes) -> str:
    return base64.b64encode(hashlib.new(name, body).digest()).decode()


@pytest.mark.parametrize(
    ("field", "form", "name"),
    [
        ("Content-MD5", "{}", "md5"),
        ("Digest", "SHA-256={}", "sha256"),
        ("Digest", "unixsum=30637, MD5={}", "md5"),
        ("Digest", "sha={}", "sha1"),
        ("Content-Digest", "sha-256=:{}:", "sha256"),
        ("Repr-Digest", "sha-512=:{}:;x=1", "sha512"),
    ],
)
def test_a_stated_digest_is_compared(field: str, form: str, name: str) -> None:
    assert _agree((field, form.format(_text(name, BODY))))
    assert not _agree((field, form.format(_text(name, BODY + b" "))))


def test_each_of_several_digests_counts() -> None:
    stated = [_text("sha256", BODY), _text("sha256", b"x")]
    assert not _agree(("Digest", f"sha-256={stated[0]}, sha-256={stated[1]}"))
    assert not _agree(("Digest", f"sha-256={stated[0]}"), ("Content-MD5", _text("md5", b"x")))


def test_a_digest_of_no_bytes_is_ignored() -> None:
    assert _agree(("Content-MD5", _text("md5", b"")), ("Digest", f"sha-256={_text('sha256', b'')}"))


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("md5", "md5"), ("sha", "sha1"), ("sha-256", "sha256"), ("sha-512", "sha512")],
)
def test_a_digest_of_another_form_is_ignored(algorithm: str, name: str) -> None:
    other = hashlib.new(name, b"x")
    standard = _text(name, b"x")
    forms = [
        *(other.hexdigest(), other.hexdigest().upper(), standard.rstrip("="), f"W/{standard}"),
        base64.b64encode(other.hexdigest().encode()).decode(),
        standard.replace(standard[5], "-"),
    ]
    for text in forms:
        for form in ("{}={}", '{}="{}"', "{}=:{}:"):
            assert _agree(("Digest", form.format(algorithm, text)))
            assert _agree(("Repr-Digest", form.format(algorithm, text)))
        assert name != "md5" or _agree(("Content-MD5", text))
    assert _agree(("Digest", f"id-{algorithm}={standard}, unixsum=1, {algorithm}-x={standard}"))


@pytest.mark.parametrize(
    "text", ["", ",", "sha-256", "sha-256=", "sha-256=::", "sha-256=:x:", "md5=AAAA", "a=b=c"]
)
def test_a_digest_that_cannot_be_read_is_ignored(text: str) -> None:
    assert _agree(("Digest", text), ("Content-MD5", text), ("Repr-Digest", text))
