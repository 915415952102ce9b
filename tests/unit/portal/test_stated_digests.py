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
    stated = [_text("sha256", BODY), _text("sha256", b"")]
    assert not _agree(("Digest", f"sha-256={stated[0]}, sha-256={stated[1]}"))
    assert not _agree(("Digest", f"sha-256={stated[0]}"), ("Content-MD5", _text("md5", b"")))


@pytest.mark.parametrize(
    "text", ["", ",", "sha-256", "sha-256=", "sha-256=::", "sha-256=:x:", "md5=AAAA", "a=b=c"]
)
def test_a_digest_that_cannot_be_read_is_ignored(text: str) -> None:
    assert _agree(("Digest", text), ("Content-MD5", text), ("Repr-Digest", text))
