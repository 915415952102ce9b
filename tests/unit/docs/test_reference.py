"""The generated pages are current and whole."""

from __future__ import annotations

import re
from dataclasses import fields

from autos.downloads.v1 import downloads_pb2 as pb
from dev.reference.__main__ import main, pages
from storage.environment.setting_reader import IN_SO_MANY_WORDS, variable
from storage.settings import Settings
from tests.mutants.catalogue import MUTANTS


def test_the_generated_pages_are_current() -> None:
    assert main([]) == 0


def test_every_method_message_and_enum_stands_in_the_page_of_the_api() -> None:
    page = pages()["reference/api.md"]
    named = set(re.findall(r"^### (\w+)$", page, re.M))
    service = pb.DESCRIPTOR.services_by_name["DownloadService"]

    assert named == {
        *(method.name for method in service.methods),
        *pb.DESCRIPTOR.message_types_by_name,
        *pb.DESCRIPTOR.enum_types_by_name,
    }


def test_every_variable_that_is_read_stands_in_the_page_of_settings() -> None:
    read = {variable(each) for each in fields(Settings)}
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|", pages()["reference/settings.md"], re.M)

    assert len(rows) == len(set(rows))
    assert set(rows) == read | set(IN_SO_MANY_WORDS)


def test_a_setting_has_its_default_and_its_limits() -> None:
    page = pages()["reference/settings.md"]

    assert "| `LANES_PER_JOB` | `5` | a whole number from 1 to 100 |" in page
    assert "| `DATABASE_URL` | required |" in page
    assert "| `GRPC_REUSE_PORT` | `off` | one of on, off |" in page


def test_every_mutant_stands_in_the_page_of_mutation_tests() -> None:
    page = pages()["development/mutation-tests.md"]

    assert all(f"| {mutant.without} | `{mutant.file}` |" in page for mutant in MUTANTS)
