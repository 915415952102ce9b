"""The portal's answer about a case: recorded with the listing, moved to the bucket, read."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
import pytest

from actors.case_file.case_file import parse_case
from actors.scheduler.sweeper import OUTAGE_WAIT_S, AnswerMover
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.authentication import set_current_client
from server.dependencies import ServerDependencies
from server.rpc.case_methods import MOST_BYTES
from storage.clients.client_registry import CallingClient
from storage.errors import NotFound
from storage.listings import case_answer, listing_cache, listing_record
from storage.listings.listed_case import CaseListing
from storage.listings.listing_import import ListingImport
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres.database import Database, Row
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.grpc_server import (
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.sandbox.court_cases import cnj
from tests.system.refused_calls import refusal_of

NUMBER, LONG = "1003579-22.2025.8.26.0564", cnj.process_number(7, 2025, "8.26", "0100")
MOVEMENTS = [
    {"dataHora": f"2025-03-{day:02}T10:00:00", "descricao": "Juntada"} for day in (1, 9, 5)
]


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


def _case(number: str, *, level: int = 0, movements: Any = MOVEMENTS) -> CaseListing:
    body = [
        {
            "numeroProcesso": number,
            "nivelSigilo": level,
            "siglaTribunal": "TJSP",
            "tramitacaoAtual": {
                "grau": {"sigla": "G1"},
                "classe": [{"codigo": 7, "descricao": "Procedimento Comum"}],
                "documentos": [],
                "movimentos": movements,
            },
        }
    ]
    listing = parse_case(body, number)
    assert listing is not None
    return replace(listing, answer=json.dumps(body).encode())


def _listed(database: Database, number: str, case: CaseListing, **values: Any) -> UUID:
    """A job whose case the portal listed with this answer."""
    view, _ = factories.start(database, factories.request(number, max_age_s=0, **values))
    claim = factories.listing_claim(database, view.job.job_id)
    listing = (
        listing_cache.listing_of(database, claim.client, claim.listed_by)
        if claim.listed_by
        else ListingImport.of(claim.client, number, case)
    )
    listing_record.record(database, claim, listing)
    return view.job.job_id


def _rows(database: Database) -> list[Row]:
    with database.transaction() as transaction:
        return transaction.all("SELECT * FROM case_answers ORDER BY client, listed_time")


def _bytes(database: Database, objects: Objects, number: str, client: str = CLIENT) -> bytes:
    return b"".join(case_answer.newest_bytes(database, objects, client, number))


def test_the_bytes_are_kept_as_they_came_before_and_after_they_move(
    database: Database, objects: Objects
) -> None:
    number = factories.process_number()
    case = _case(number)
    _listed(database, number, case)

    found = case_answer.newest(database, CLIENT, number)
    assert found.sha256 == hashlib.sha256(case.answer).hexdigest()
    assert (found.size_bytes, found.is_sealed) == (len(case.answer), False)
    assert _bytes(database, objects, number) == case.answer

    assert case_answer.move_to_bucket(database, objects) == 1
    [row] = _rows(database)
    assert row["content"] is None
    assert row["object_key"].startswith(f"{CLIENT}/listagens/")
    assert _bytes(database, objects, number) == case.answer
    assert case_answer.move_to_bucket(database, objects) == 0


def test_an_equal_answer_has_one_row_and_another_one_has_its_own(
    database: Database, objects: Objects
) -> None:
    number = factories.process_number()
    first, second = _case(number), _case(number, movements=MOVEMENTS[:1])
    for case in (first, first, second, first):
        _listed(database, number, case)

    assert len(_rows(database)) == 2
    # The newest one is the one that the portal gave last.
    assert _bytes(database, objects, number) == first.answer


def test_a_client_sees_its_own_answers_only_and_a_copied_one_becomes_its_own(
    database: Database, objects: Objects
) -> None:
    number = factories.process_number()
    case = _case(number)
    waiting, _ = factories.start(database, factories.request(number, client="beta", max_age_s=0))
    _listed(database, number, case, client="alpha")
    with pytest.raises(NotFound):
        case_answer.newest(database, "beta", number)
    case_answer.move_to_bucket(database, objects)

    claim = factories.listing_claim(database, waiting.job.job_id)
    assert claim.listed_by is not None
    copied = listing_cache.listing_of(database, "beta", claim.listed_by)
    listing_record.record(database, claim, copied)

    assert _bytes(database, objects, number, "beta") == case.answer
    case_answer.move_to_bucket(database, objects)
    keys = [row["object_key"] for row in _rows(database)]
    assert [key.partition("/")[0] for key in keys] == ["alpha", "beta"]
    assert _bytes(database, objects, number, "beta") == case.answer


def test_an_answer_that_was_sealed_a_moment_ago_is_not_copied(database: Database) -> None:
    number = factories.process_number()
    waiting, _ = factories.start(database, factories.request(number, client="beta", max_age_s=0))
    _listed(database, number, _case(number), client="alpha")
    claim = factories.listing_claim(database, waiting.job.job_id)
    assert claim.listed_by is not None
    copied = listing_cache.listing_of(database, "beta", claim.listed_by)
    # As if a listing with a seal were committed after the check of the case.
    factories.execute(
        database,
        "INSERT INTO case_answers SELECT client, process_number, repeat('0', 64), size_bytes,"
        " clock_timestamp(), 2, true, data, content FROM case_answers",
    )

    listing_record.record(database, claim, copied)

    assert {row["client"] for row in _rows(database)} == {"alpha"}


def test_a_refused_sealed_case_leaves_no_answer(database: Database) -> None:
    number = factories.process_number()
    _listed(database, number, _case(number, level=2), refuses_sealed=True)
    assert _rows(database) == []

    other = factories.process_number()
    _listed(database, other, _case(other, level=2))
    assert case_answer.newest(database, CLIENT, other).is_sealed


def test_a_bucket_that_is_away_loses_nothing(database: Database, objects: Objects) -> None:
    number = factories.process_number()
    case = _case(number)
    _listed(database, number, case)
    away = ObjectStore("http://127.0.0.1:9", "http://127.0.0.1:9", "a", "b", "c", "d")
    broken = Objects(away, max_connections=1)

    assert AnswerMover(database, broken, lambda: True).move() == OUTAGE_WAIT_S
    assert _bytes(database, broken, number) == case.answer
    assert AnswerMover(database, objects, lambda: False).move() < OUTAGE_WAIT_S
    assert _rows(database)[0]["object_key"] is None

    AnswerMover(database, objects, lambda: True).move()
    assert _bytes(database, objects, number) == case.answer


def test_callers_read_the_case_and_the_answer(parts: ServerDependencies, tmp_path: Any) -> None:
    case = _case(NUMBER)
    _listed(parts.database, NUMBER, case, client="alpha")
    file = write_clients(
        tmp_path / "clients.json", entry("alpha", "a" * 40), entry("beta", "b" * 40)
    )

    async def scenario() -> None:
        async with running_server(parts, file) as server:
            async with api_of(server.address, "a" * 40) as api:
                found = (await api.GetCase(pb.GetCaseRequest(process_number=NUMBER))).case
                assert (found.process_number, found.court, found.sealed) == (NUMBER, "TJSP", False)
                assert found.secrecy_level == 0
                assert found.HasField("secrecy_level")
                [proceeding] = found.proceedings
                assert proceeding.case_class == pb.Term(code=7, name="Procedimento Comum")
                days = [each.local_time[8:10] for each in proceeding.movements]
                assert days == ["09", "05", "01"]
                assert found.listing_sha256 == hashlib.sha256(case.answer).hexdigest()
                stream = api.GetCaseListing(pb.GetCaseListingRequest(process_number=NUMBER))
                assert b"".join([part.chunk async for part in stream]) == case.answer
            async with api_of(server.address, "b" * 40) as api:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await api.GetCase(pb.GetCaseRequest(process_number=NUMBER))
                assert refusal_of(refused.value).reason == "CASE_NOT_FOUND"
                stream = api.GetCaseListing(pb.GetCaseListingRequest(process_number=NUMBER))
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stream.read()
                assert refusal_of(refused.value).reason == "CASE_NOT_FOUND"

    asyncio.run(scenario())


def test_a_long_case_waits_for_the_other_long_pages_of_its_client(
    parts: ServerDependencies,
) -> None:
    _listed(parts.database, NUMBER, _case(NUMBER), client="default")
    _listed(parts.database, LONG, _case(LONG, movements=MOVEMENTS * 100), client="default")
    short = pb.GetCaseRequest(process_number=NUMBER)

    async def scenario() -> None:
        held = threading.Event()
        async with running_server(parts) as server, api_of(server.address) as api:
            set_current_client(CallingClient("default"))
            page = server.service._threads.read_page(1_000, held.wait, 60)
            holding = asyncio.create_task(page)
            try:
                long = asyncio.ensure_future(api.GetCase(pb.GetCaseRequest(process_number=LONG)))
                for _ in range(20):
                    await api.GetCase(short)
                assert not long.done()
            finally:
                held.set()
            assert await holding
            assert len((await long).case.proceedings[0].movements) == 300

    asyncio.run(scenario())


def test_a_huge_case_loses_its_oldest_movements_only(parts: ServerDependencies) -> None:
    movements = [
        {"dataHora": f"{1950 + year}-01-01T00:00:00", "descricao": "x" * 2_000, "codigo": n}
        for n, year in enumerate([*range(70)] * 60)
    ]
    _listed(parts.database, NUMBER, _case(NUMBER, movements=movements), client="default")

    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            found = (await api.GetCase(pb.GetCaseRequest(process_number=NUMBER))).case
        assert found.ByteSize() <= MOST_BYTES
        [proceeding] = found.proceedings
        assert 0 < len(proceeding.movements) < len(movements)
        assert proceeding.movements[0].local_time == "2019-01-01T00:00:00"

    asyncio.run(scenario())
