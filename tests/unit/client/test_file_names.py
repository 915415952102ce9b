"""Test file names: readable, stable, and safe for any name that a court gives a document."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autos._client.pulling import MAX_NAME_BYTES, file_names
from autos.downloads.v1 import downloads_pb2 as pb

DOCUMENTS = st.builds(
    pb.Document,
    document_id=st.uuids().map(str),
    # Characters of every script, and some that courts must not send but may.
    name=st.text(max_size=300) | st.text("./\\ :*\u202e\u0301a\x00\n", max_size=300),
    instance=st.sampled_from(["G1", "G2", ""]) | st.text(max_size=60),
    sequence=st.integers(-(2**31), 2**31 - 1),
    object_key=st.just("default/x/abc.pdf") | st.text(max_size=30),
)


def _document(name: str, **fields: object) -> pb.Document:
    usual = {
        "document_id": "3f2a9c1e-0000-5000-8000-000000000000",
        "sequence": 7,
        "instance": "G1",
        "object_key": "default/processos/1/documentos/d/0123.pdf",
    }
    return pb.Document(**{**usual, "name": name, **fields})  # type: ignore[arg-type]


def _name(document: pb.Document) -> str:
    return file_names([document])[document.document_id]


@pytest.mark.parametrize(
    ("given_name", "file_name"),
    [
        ("Sentença", "0007 G1 Sentença 3f2a9c1e.pdf"),
        ("Sentença.pdf", "0007 G1 Sentença 3f2a9c1e.pdf"),
        ("Despacho.RTF", "0007 G1 Despacho 3f2a9c1e.pdf"),
        ("Art. 5 da Lei 1.060", "0007 G1 Art. 5 da Lei 1.060 3f2a9c1e.pdf"),
        ("../../etc/passwd", "0007 G1 etc passwd 3f2a9c1e.pdf"),
        ("C:\\Windows\\con", "0007 G1 C Windows con 3f2a9c1e.pdf"),
        ("a\nb\x00c\x1b[31m", "0007 G1 a b c [31m 3f2a9c1e.pdf"),
        ("\u202efdp.exe", "0007 G1 fdp.exe 3f2a9c1e.pdf"),
        ("", "0007 G1 3f2a9c1e.pdf"),
        ("...", "0007 G1 3f2a9c1e.pdf"),
    ],
)
def test_a_name_is_what_the_court_wrote_without_what_is_dangerous(
    given_name: str, file_name: str
) -> None:
    assert _name(_document(given_name)) == file_name


def test_the_extension_is_what_the_server_found_by_the_bytes() -> None:
    assert _name(_document("x.pdf", object_key="a/b.rtf")).endswith("x 3f2a9c1e.rtf")
    assert _name(_document("x", object_key="a/b.sh;rm")).endswith(".bin")


def test_a_name_has_room_whatever_else_is_long() -> None:
    name = _name(_document("ç" * 400, instance="ü" * 400, sequence=2**31 - 1))

    assert len(name.encode()) <= MAX_NAME_BYTES
    assert name.endswith("ç 3f2a9c1e.pdf")


def test_a_cut_name_keeps_no_accent_without_its_letter() -> None:
    document = _document("e\u0301\u0323" * 100)  # é with a dot below: two characters in NFC

    stem = _name(document).removesuffix(" 3f2a9c1e.pdf").removeprefix("0007 G1 ")

    assert len({stem[i : i + 2] for i in range(0, len(stem), 2)}) == 1


@settings(max_examples=40)
@given(st.lists(DOCUMENTS, max_size=5, unique_by=lambda d: d.document_id))
def test_every_name_is_one_plain_file_of_the_folder(documents: list[pb.Document]) -> None:
    names = file_names(documents)

    assert names.keys() == {document.document_id for document in documents}
    for name in names.values():
        assert PurePosixPath(name).name == PureWindowsPath(name).name == name
        assert Path("folder", name).resolve().parent == Path("folder").resolve()
        assert not name.startswith((".", "-", " "))
        assert not name.endswith((".", " "))
        assert len(name.encode()) <= MAX_NAME_BYTES
        assert all(unicodedata.category(c)[0] != "C" for c in name)
        assert not set(name) & set('/\\:*?"<>|\x00')


@settings(max_examples=40)
@given(st.lists(st.uuids(), min_size=2, max_size=6, unique=True), st.text(max_size=10))
def test_no_two_documents_share_a_name_on_any_file_system(ids: list[UUID], name: str) -> None:
    # The names differ in case and composition only, and the ids begin alike.
    written = [name.upper(), name.lower(), unicodedata.normalize("NFD", name)]
    documents = [
        _document(written[i % 3], document_id=f"3f2a9c1e{str(one)[8:]}")
        for i, one in enumerate(ids)
    ]
    distinct = {document.document_id for document in documents}

    names = file_names(documents)

    folded = {unicodedata.normalize("NFD", each).casefold() for each in names.values()}
    assert len(folded) == len(distinct)


def test_a_document_has_the_same_name_in_every_job_of_its_case() -> None:
    one, other = _document("Petição"), _document("Outra", document_id="ffffffff-1")

    assert file_names([one, other])[one.document_id] == file_names([one])[one.document_id]
