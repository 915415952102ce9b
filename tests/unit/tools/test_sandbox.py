"""Test that the sandbox portal and the webhook receiver behave as the other tests require."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from standardwebhooks import Webhook

from dev.processes.deadline import until
from tests.sandbox.admission import timeline
from tests.sandbox.court_cases.case_model import SandboxCase
from tests.sandbox.court_cases.cases import CASES
from tests.sandbox.court_cases.cnj import digits, process_number
from tests.sandbox.court_cases.document_bytes import MEDIA_TYPES, MINIMUM_BYTES, chunks, content
from tests.sandbox.court_cases.portal_faults import (
    FILE_FAULTS,
    LIST_FAULTS,
    good_count,
    is_good_in_the_end,
)
from tests.sandbox.latency_profile import Burst, Latency, LatencyProfile
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.portal_state import TOKEN
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver

SECRET = "whsec_c2FuZGJveC1zZWNyZXQtb2YtMzItYnl0ZXMtbG9uZyE="
SEQUENCE = itertools.count(1)
TOO_LARGE_TO_LOOK_AT = ("large", "large-300", "drip")


@pytest.fixture
def portal() -> Iterator[SandboxPortal]:
    with SandboxPortal() as portal:
        yield portal


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(secret=SECRET) as receiver:
        yield receiver


@pytest.fixture
def web() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64)"
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        yield session


def get(web: requests.Session, portal: SandboxPortal, path: str, **more: Any) -> requests.Response:
    more = {"timeout": 10, "allow_redirects": False} | more
    return web.get(f"{portal.url}/api/v2{path}", **more)


def list_case(web: requests.Session, portal: SandboxPortal, number: str) -> requests.Response:
    return get(web, portal, f"/processos/{number}")


def listed(body: Any) -> list[dict[str, Any]]:
    """Return every entry of every list of an answer."""
    case = body[0] if isinstance(body, list) else body
    branches = [case["tramitacaoAtual"], *case.get("tramitacoes", [])]
    return [entry for branch in branches for entry in branch.get("documentos") or []]


def file_path(case: SandboxCase | None, position: int) -> str:
    assert case is not None
    return f"/processos/{case.number}/documentos/{case.documents[position].uuid}/binario"


def faulty(portal: SandboxPortal, fault: str, **more: Any) -> str:
    """Return the path of a new document with that fault."""
    return file_path(portal.case(portal.add_case(documents=1, faults={0: fault}, **more)), 0)


# Authentication.


def test_page_outside_the_api_is_the_shell(portal: SandboxPortal, web: requests.Session) -> None:
    answer = web.get(f"{portal.url}/processos/{CASES['one-pdf'].number}", timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert len(answer.content) == 2422
    assert "<app-root" in answer.text
    assert "Portal de Serviços" in answer.content.decode()


def test_client_that_is_no_browser_meets_the_firewall(
    portal: SandboxPortal, web: requests.Session
) -> None:
    web.headers["User-Agent"] = "python-requests/2"
    answer = list_case(web, portal, CASES["one-pdf"].number)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("header", ["", "Bearer other", TOKEN])
def test_wrong_token_is_refused(portal: SandboxPortal, web: requests.Session, header: str) -> None:
    web.headers["Authorization"] = header
    answer = list_case(web, portal, CASES["one-pdf"].number)
    assert answer.status_code == 401
    assert "não possui acesso ao processo" not in answer.json()["message"]


def test_wrong_route_is_html_and_unknown_document_is_json(
    portal: SandboxPortal, web: requests.Session
) -> None:
    assert get(web, portal, "/processo/1").headers["Content-Type"].startswith("text/html")
    path = f"/processos/{CASES['one-pdf'].number}/documentos/{uuid4()}/binario"
    answer = get(web, portal, path)
    assert answer.status_code == 404
    assert answer.json()["message"] == "Não foram encontrados registros"


# Numbers and listings.


def test_every_number_has_the_check_digits_of_the_resolution() -> None:
    assert process_number(1011745, 2025, "8.11", "0041") == CASES["all-good"].number
    assert process_number(1003579, 2025, "8.26", "0564") == CASES["mostly-500"].number
    numbers = [digits(case.number) for case in CASES.values()]
    assert len(set(numbers)) == len(CASES)
    for number in numbers:
        whole = int(number[:7] + number[9:] + "00")
        assert number[7:9] == f"{98 - whole % 97:02d}"


@pytest.mark.parametrize(
    ("slug", "entries", "distinct", "good"),
    [
        ("all-good", 31, 31, 31),
        ("mostly-500", 43, 43, 8),
        ("two-instances", 22, 22, 22),
        ("twins", 24, 12, 12),
        ("same-twice", 12, 6, 6),
        ("sealed", 8, 8, 8),
        ("four-hundred", 400, 400, 400),
        ("empty", 0, 0, 0),
        ("null-list", 0, 0, 0),
        ("null-alone", 0, 0, 0),
        ("bare-object", 2, 2, 2),
        ("bursts", 4, 4, 4),
    ],
)
def test_case_lists_what_it_promises(
    portal: SandboxPortal, web: requests.Session, slug: str, entries: int, distinct: int, good: int
) -> None:
    case = CASES[slug]
    for number in (case.number, digits(case.number)):
        assert len(listed(list_case(web, portal, number).json())) == entries
    assert len(case.distinct) == distinct
    assert good_count(case) == good


def test_unknown_numbers_are_no_error(portal: SandboxPortal, web: requests.Session) -> None:
    assert list_case(web, portal, CASES["unknown"].number).json() == []
    assert list_case(web, portal, process_number(7, 1999)).json() == []
    assert list_case(web, portal, CASES["unknown-content"].number).json() == {"content": []}


def test_shapes_of_the_lists_differ(portal: SandboxPortal, web: requests.Session) -> None:
    bodies = {
        slug: list_case(web, portal, CASES[slug].number).json()
        for slug in ("null-list", "null-alone", "no-tramitacoes", "bare-object", "sealed-case")
    }
    assert bodies["null-list"][0]["tramitacoes"][0]["documentos"] is None
    assert bodies["null-alone"][0]["tramitacaoAtual"]["documentos"] is None
    assert "tramitacoes" not in bodies["null-alone"][0]
    assert "tramitacoes" not in bodies["no-tramitacoes"][0]
    assert isinstance(bodies["bare-object"], dict)
    assert bodies["sealed-case"][0]["nivelSigilo"] == 1


def test_entries_vary_as_the_portals_do(portal: SandboxPortal, web: requests.Session) -> None:
    entries = listed(list_case(web, portal, CASES["all-good"].number).json())
    decimals = {len(entry["dataHoraJuntada"].partition(".")[2]) for entry in entries}
    assert decimals == set(range(7))
    assert {"codigo" in entry["tipo"] for entry in entries} == {True, False}
    names = "".join(entry["nome"] for entry in entries)
    assert all(part in names for part in ("123.456.789-09", "../", "\x07", "\r\n", "\u202e", "ç"))
    sealed = listed(list_case(web, portal, CASES["sealed"].number).json())
    levels = [entry.get("nivelSigilo") for entry in sealed]
    assert len(set(levels)) == 8
    assert None in levels


def test_twins_share_id_origem_and_no_uuid() -> None:
    for twins in CASES["twins"].distinct.values():
        assert len({twin.uuid for twin in twins}) == 2
        assert [twin.has_arquivo for twin in twins].count(True) == 1
        assert [is_good_in_the_end(twin) for twin in twins].count(True) == 1
    pairs = itertools.chain.from_iterable(CASES["twins"].distinct.values())
    assert {(twin.has_arquivo, is_good_in_the_end(twin)) for twin in pairs} == {
        (True, True), (True, False), (False, True), (False, False)
    }  # fmt: skip


def test_one_listing_more_and_a_document_is_gone(
    portal: SandboxPortal, web: requests.Session
) -> None:
    def count() -> int:
        return len(listed(list_case(web, portal, CASES["vanishing"].number).json()))

    assert [count(), count()] == [5, 4]
    portal.reset()
    assert count() == 5


def test_one_listing_lacks_a_document_and_the_next_has_it_again(
    portal: SandboxPortal, web: requests.Session
) -> None:
    number = CASES["flickering"].number

    counts = [len(listed(list_case(web, portal, number).json())) for _ in range(4)]

    assert counts == [5, 4, 5, 5]


# Contents.


@pytest.mark.parametrize("kind", MEDIA_TYPES)
@pytest.mark.parametrize("size_bytes", [MINIMUM_BYTES, 59_999, 200_003])
def test_content_has_its_size_and_is_its_seeds(kind: str, size_bytes: int) -> None:
    seed = uuid4()
    body = content(kind, seed, size_bytes)
    assert len(body) == size_bytes
    assert body == content(kind, seed, size_bytes)
    assert body != content(kind, uuid4(), size_bytes)


def test_large_content_is_made_in_small_pieces() -> None:
    pieces = [len(piece) for piece in chunks("pdf", uuid4(), 20_000_000)]
    assert sum(pieces) == 20_000_000
    assert max(pieces) <= 65_536


def test_good_documents_are_as_long_as_tamanho_and_all_different(
    portal: SandboxPortal, web: requests.Session
) -> None:
    entries = listed(list_case(web, portal, CASES["all-good"].number).json())
    starts = {
        "application/pdf": b"%PDF-",
        "text/html": b"<div",
        "text/richtext": b"{\\rtf",
        "image/png": b"\x89PNG",
        "image/jpeg": b"\xff\xd8\xff",
        "application/zip": b"PK\x03\x04",
    }
    hashes = set()
    for entry in entries:
        answer = get(web, portal, entry["hrefBinario"])
        assert len(answer.content) == entry["arquivo"]["tamanho"]
        assert answer.headers["Content-Type"] == entry["arquivo"]["tipo"]
        assert answer.content.startswith(starts[entry["arquivo"]["tipo"]])
        assert answer.content.startswith(b"%PDF") == answer.content.endswith(b"%%EOF\n")
        hashes.add(hashlib.sha256(answer.content).digest())
    assert len(hashes) == 31


# Faults.


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("codex-500", [500, 500, 500]),
        ("codex-500-then-good", [500, 500, 200]),
        ("firewall", [403, 200]),
        ("forbidden", [403, 403]),
        ("too-fast", [429, 200]),
        ("too-fast-bare", [429, 200]),
        ("503-once", [503, 200]),
        ("bad-gateway", [503, 503, 503]),
        ("expired-token", [401, 401]),
        ("no-access-file", [401, 401]),
        ("redirect", [302, 302]),
    ],
)
def test_fault_ends_when_it_should(
    portal: SandboxPortal, web: requests.Session, fault: str, statuses: list[int]
) -> None:
    path = faulty(portal, fault)
    assert [get(web, portal, path).status_code for _ in statuses] == statuses


# `requests` returns an interim answer as the final one; test_interim_answers.py has a client that
# does not.
@pytest.mark.parametrize("fault", sorted(FILE_FAULTS.keys() - {"drip", "early-hints"}))
def test_document_ends_good_if_its_fault_ends(
    portal: SandboxPortal, web: requests.Session, fault: str
) -> None:
    number = portal.add_case(documents=1, faults={0: fault})
    case = portal.case(number)
    assert case is not None
    document = case.documents[0]
    is_good = False
    for _ in range(3):
        try:
            answer = get(web, portal, file_path(case, 0))
        except requests.exceptions.RequestException:
            continue
        is_good = answer.content == content("pdf", document.uuid, 20_000)
    assert is_good == is_good_in_the_end(document)


@pytest.mark.parametrize("slug", sorted(CASES.keys() - set(TOO_LARGE_TO_LOOK_AT)))
def test_case_of_a_fault_has_a_good_document_beside_it(slug: str) -> None:
    case = CASES[slug]
    if any(document.fault for document in case.documents):
        assert any(document.fault is None for document in case.documents)


def test_retry_after_comes_as_seconds_as_a_date_or_not_at_all(
    portal: SandboxPortal, web: requests.Session
) -> None:
    before = datetime.now(UTC)
    faults = ("too-fast", "too-fast-date", "too-fast-bare")
    seconds, date, none = (
        get(web, portal, faulty(portal, fault)).headers.get("Retry-After") for fault in faults
    )
    assert (seconds, none) == ("1", None)
    assert date is not None
    # Two seconds after the request, minus the fraction of a second that an HTTP date omits.
    assert before + timedelta(seconds=1) < parsedate_to_datetime(date)
    assert parsedate_to_datetime(date) <= datetime.now(UTC) + timedelta(seconds=2)


def test_not_ready_is_57_bytes_of_json(portal: SandboxPortal, web: requests.Session) -> None:
    answer = get(web, portal, faulty(portal, "not-ready"))
    assert (answer.status_code, len(answer.content)) == (200, 57)
    assert answer.content.startswith(b'{"cod')
    assert answer.json()["codigo"]


def test_cut_bodies_are_cut_each_in_its_way(portal: SandboxPortal, web: requests.Session) -> None:
    short = get(web, portal, faulty(portal, "short-of-tamanho"))
    assert int(short.headers["Content-Length"]) == len(short.content) == 19_900
    assert short.content.endswith(b"%%EOF\n")
    no_eof = get(web, portal, faulty(portal, "no-eof"))
    assert len(no_eof.content) == 20_000
    assert b"%%EOF" not in no_eof.content
    no_length = get(web, portal, faulty(portal, "no-length-cut"))
    assert "Content-Length" not in no_length.headers
    assert len(no_length.content) == 10_000
    for fault in ("cut", "cut-for-good", "chunked-cut"):
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            get(web, portal, faulty(portal, fault))
    assert get(web, portal, faulty(portal, "gzip")).headers["Content-Encoding"] == "gzip"


def test_drip_goes_on_byte_by_byte(portal: SandboxPortal, web: requests.Session) -> None:
    with closing(get(web, portal, faulty(portal, "drip"), stream=True)) as answer:
        assert answer.raw.read(2) == b"%P"


def test_hostile_links_lead_elsewhere(portal: SandboxPortal, web: requests.Session) -> None:
    def href(slug: str) -> str | None:
        entries = listed(list_case(web, portal, CASES[slug].number).json())
        return entries[1].get("hrefBinario")

    port = portal.url.rpartition(":")[2]
    assert (href("foreign-href") or "").startswith(f"http://localhost:{port}/")
    assert CASES["all-good"].number in (href("other-case-href") or "")
    assert "?" in (href("query-href") or "")
    assert href("no-href") is None


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [("no-access", [401, 401]), ("list-503-then-good", [503, 503, 200]), ("list-500", [500] * 3)],
)
def test_listing_fault_ends_when_it_should(
    portal: SandboxPortal, web: requests.Session, fault: str, statuses: list[int]
) -> None:
    number = portal.add_case(documents=1, list_fault=fault)
    assert [list_case(web, portal, number).status_code for _ in statuses] == statuses
    assert fault in LIST_FAULTS


def test_no_access_has_its_own_page(portal: SandboxPortal, web: requests.Session) -> None:
    answer = list_case(web, portal, CASES["no-access"].number)
    assert "não possui acesso ao processo" in answer.content.decode()


# Control and the log.


def test_every_request_is_noted_without_its_token(tmp_path: Path, web: requests.Session) -> None:
    log = tmp_path / "portal.jsonl"
    with SandboxPortal(token="secret-of-mine", log_path=log) as portal:
        web.headers["Authorization"] = "Bearer secret-of-mine"
        number = portal.add_case(documents=2)
        case = portal.case(number)
        assert case is not None
        list_case(web, portal, digits(number))
        get(web, portal, file_path(case, 0))
        get(web, portal, file_path(case, 0))
        uuids = [document.uuid for document in case.documents]
        assert portal.request_count(number) == 1
        assert [portal.request_count(uuid) for uuid in uuids] == [2, 0]
        assert [request.kind for request in portal.requests] == ["list", "file", "file"]
        assert portal.requests[1].uuid == str(uuids[0])
    assert len(log.read_text().splitlines()) == 3
    assert "secret-of-mine" not in log.read_text()


def test_log_is_read_and_cleared_over_http(portal: SandboxPortal, web: requests.Session) -> None:
    list_case(web, portal, CASES["one-pdf"].number)
    list_case(web, portal, CASES["empty"].number)
    log = f"{portal.url}/sandbox/log"
    one = web.get(f"{log}?case={digits(CASES['empty'].number)}", timeout=60).json()
    assert [request["kind"] for request in one] == ["list"]
    everything = web.get(log, timeout=60).json()
    assert [each["kind"] for each in everything] == ["list", "list", "control", "control"]
    web.delete(log, timeout=60)
    assert portal.requests == []


def test_case_is_made_over_http(portal: SandboxPortal, web: requests.Session) -> None:
    case_fields = {"documents": 3, "size": 5_000, "latency_ms": 1, "faults": {"1": "codex-500"}}
    cases = f"{portal.url}/sandbox/cases"
    first, second = (
        web.post(cases, json=case_fields, timeout=60).json()["number"] for _ in range(2)
    )
    assert first != second
    entries = listed(list_case(web, portal, first).json())
    answers = [get(web, portal, entry["hrefBinario"]) for entry in entries]
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert len(answers[0].content) == 5_000
    wrong = web.post(cases, json={"documents": 1, "faults": {"0": "no such"}}, timeout=60)
    assert wrong.status_code == 400


def test_held_files_wait_until_released(portal: SandboxPortal, web: requests.Session) -> None:
    case = portal.case(portal.add_case(documents=3))
    assert case is not None
    hold = f"{portal.url}/sandbox/hold?case={case.number}"
    web.post(hold, timeout=60)
    with ThreadPoolExecutor(3) as pool:
        files = [pool.submit(get, web, portal, file_path(case, i)) for i in range(3)]
        portal.wait_held(case.number, 3)
        assert list_case(web, portal, case.number).status_code == 200
        assert web.get(hold, timeout=60).json() == {"waiting": 3}
        assert portal.concurrent_peak == 3
        assert not any(file.done() for file in files)
        web.post(f"{portal.url}/sandbox/release?case={case.number}", timeout=60)
        assert [len(file.result(60).content) for file in files] == [20_000] * 3
    assert web.get(f"{portal.url}/sandbox/peak", timeout=60).json() == {"peak": 3}


@pytest.mark.parametrize("after_bytes", [0, 7_000])
def test_held_file_sends_so_many_bytes_first(
    portal: SandboxPortal, web: requests.Session, after_bytes: int
) -> None:
    case = portal.case(portal.add_case(documents=1))
    assert case is not None
    portal.hold(case.number, after_bytes=after_bytes)
    with closing(get(web, portal, file_path(case, 0), stream=True)) as answer:
        assert len(answer.raw.read(after_bytes)) == after_bytes
        portal.wait_held(case.number)
        portal.release(case.number)
        assert len(answer.raw.read()) == 20_000 - after_bytes


def test_portal_that_ends_lets_go_of_what_it_holds(web: requests.Session) -> None:
    with ThreadPoolExecutor(1) as pool:
        with SandboxPortal() as portal:
            number = portal.add_case(documents=1)
            portal.hold(number)
            file = pool.submit(get, web, portal, file_path(portal.case(number), 0))
            portal.wait_held(number)
        with pytest.raises(requests.exceptions.ConnectionError):
            file.result(60)


def test_peak_is_never_above_the_concurrency_of_one_client(
    portal: SandboxPortal, web: requests.Session
) -> None:
    case = portal.case(portal.add_case(documents=200, size=100_000))
    assert case is not None
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: get(web, portal, file_path(case, i)), range(200)))
    assert {len(answer.content) for answer in answers} == {100_000}
    assert 1 <= portal.concurrent_peak <= 4


# Limits, latencies and outages.


def at_once(web: requests.Session, portal: SandboxPortal, paths: list[str]) -> list[int]:
    """Return the statuses of requests that are all sent at once."""
    with ThreadPoolExecutor(len(paths)) as pool:
        return [a.status_code for a in pool.map(lambda path: get(web, portal, path), paths)]


def held_case(portal: SandboxPortal, court: str = "8.26", documents: int = 3) -> SandboxCase:
    """Return a case with files that wait at its gate."""
    case = portal.case(
        portal.add_case(documents=documents, number=process_number(next(SEQUENCE), court=court))
    )
    assert case is not None
    portal.hold(case.number)
    return case


def test_requests_above_the_limit_are_turned_away_at_once(
    portal: SandboxPortal, web: requests.Session
) -> None:
    case = held_case(portal)
    portal.traffic.limit, portal.traffic.retry_after_s = 2, 7
    with ThreadPoolExecutor(2) as pool:
        files = [pool.submit(get, web, portal, file_path(case, i)) for i in range(2)]
        portal.wait_held(case.number, 2)
        refused = list_case(web, portal, case.number)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
        portal.traffic.retry_after_s = None
        bare = get(web, portal, file_path(case, 2))
        assert (bare.status_code, bare.headers.get("Retry-After")) == (429, None)
        portal.release(case.number)
        assert [file.result(60).status_code for file in files] == [200, 200]
    assert get(web, portal, file_path(case, 2)).status_code == 200
    assert portal.traffic.refused == 2
    # Rejected requests are in the log, too.
    assert portal.traffic.peak == 3
    pauses = {visit.status: visit.retry_after_s for visit in portal.traffic.visits[2:3]}
    assert pauses == {429: 7}
    assert portal.concurrent_peak == 3


def test_peaks_count_listings_too_and_each_court_apart(
    portal: SandboxPortal, web: requests.Session
) -> None:
    cases = [held_case(portal, "8.26", 2), held_case(portal, "5.02", 1)]
    listing = portal.add_case(documents=1, number=process_number(next(SEQUENCE), court="5.02"))
    with ThreadPoolExecutor(3) as pool:
        paths = [file_path(case, i) for case in cases for i in range(len(case.documents))]
        files = [pool.submit(get, web, portal, path) for path in paths]
        portal.wait_held(cases[0].number, 2)
        portal.wait_held(cases[1].number, 1)
        list_case(web, portal, listing)
        list_case(web, portal, listing)
        for case in cases:
            portal.release(case.number)
        assert [file.result(60).status_code for file in files] == [200] * 3
    assert portal.traffic.peak == 4
    assert portal.traffic.peaks == {"8.26": 2, "5.02": 2}
    assert max(count for _, count in timeline(portal.traffic.visits)) == 4
    assert timeline(portal.traffic.visits)[-1][1] == 0
    portal.clear_log()
    assert (portal.traffic.peak, portal.traffic.visits) == (0, [])


def test_a_client_that_repeats_at_the_last_byte_never_counts_twice(
    portal: SandboxPortal, web: requests.Session
) -> None:
    case = portal.case(portal.add_case(documents=150, size=100_000))
    assert case is not None
    for i in range(150):
        get(web, portal, file_path(case, i))
        list_case(web, portal, CASES["one-pdf"].number)
    assert portal.traffic.peak == 1
    assert portal.traffic.peaks == {"8.26": 1}


def test_every_visit_has_kind_court_status_and_times(
    portal: SandboxPortal, web: requests.Session
) -> None:
    portal.weather.latency(Latency(median_s=0.02))
    number = portal.add_case(documents=1, number=process_number(next(SEQUENCE), court="4.03"))
    list_case(web, portal, digits(number))
    get(web, portal, file_path(portal.case(number), 0))
    web.get(f"{portal.url}/somewhere", timeout=60)
    listing, file = portal.traffic.visits
    assert (listing.kind, digits(listing.number), listing.court) == ("list", digits(number), "4.03")
    assert (file.kind, file.status, file.court) == ("file", 200, "4.03")
    assert file.uuid is not None
    for visit in (listing, file):
        assert visit.end is not None
        assert visit.end - visit.begin >= 0.02


def test_latencies_are_log_normal_and_the_same_for_the_same_seed() -> None:
    def drawn(seed: int, court: str = "8.26") -> list[float]:
        weather = LatencyProfile()
        weather.latency(Latency(0.4, 0.8, seed, {"5.02": 3.0}))
        return [weather.draw_s(court) for _ in range(2_000)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1, "5.02") == [3 * one for one in drawn(1)]
    logarithms = [math.log(one) for one in drawn(1)]
    assert statistics.median(drawn(1)) == pytest.approx(0.4, rel=0.1)
    assert statistics.stdev(logarithms) == pytest.approx(0.8, rel=0.1)
    assert LatencyProfile().draw_s("8.26") == 0


@pytest.mark.parametrize("status", [502, 503, 504])
def test_burst_meets_every_request_of_its_court_at_once(
    portal: SandboxPortal, web: requests.Session, status: int
) -> None:
    numbers = [
        portal.add_case(documents=1, number=process_number(next(SEQUENCE), court=court))
        for court in ("8.26", "5.02")
    ]
    portal.weather.plan([Burst(0, 3_600, status, "5.02")])
    paths = [f"/processos/{number}" for number in numbers]
    assert at_once(web, portal, paths) == [200, status]
    portal.weather.plan([Burst(0, 3_600, status)])
    assert at_once(web, portal, paths) == [status, status]
    portal.weather.plan([Burst(0, 0, status), Burst(3_600, 7_200, status)])
    assert at_once(web, portal, paths) == [200, 200]
    assert get(web, portal, file_path(portal.case(numbers[1]), 0)).status_code == 200


def test_silent_burst_answers_nothing_until_it_is_over(
    portal: SandboxPortal, web: requests.Session
) -> None:
    # A busy machine may need a second for the request.
    portal.weather.plan([Burst(0, 2.0, None)])
    begun = time.monotonic()
    with pytest.raises(requests.exceptions.ConnectionError):
        list_case(web, portal, CASES["one-pdf"].number)
    assert time.monotonic() - begun >= 1.9
    assert [visit.status for visit in portal.traffic.visits] == [0]


def test_client_that_hangs_up_is_no_longer_at_the_portal(
    portal: SandboxPortal, web: requests.Session
) -> None:
    portal.weather.latency(Latency(median_s=3_600))
    with pytest.raises(requests.exceptions.ReadTimeout):
        get(web, portal, f"/processos/{CASES['one-pdf'].number}", timeout=0.2)
    until(lambda: portal.traffic.visits[0].end is not None, 60, "It still counts as there.")


def test_limits_and_latencies_are_controlled_over_http(
    portal: SandboxPortal, web: requests.Session
) -> None:
    def put(what: str, value: Any) -> Any:
        return web.put(f"{portal.url}/sandbox/{what}", json=value, timeout=60)

    number = CASES["one-pdf"].number
    put("latency", {"median_s": 0.01, "sigma": 0.8, "seed": 7})
    put("bursts", [{"begin_s": 0, "end_s": 3_600, "status": 503}])
    assert list_case(web, portal, number).status_code == 503
    assert put("bursts", []).json()["time"] == pytest.approx(time.time(), abs=60)
    put("traffic", {"limit": 0, "retry_after_s": 2})
    assert list_case(web, portal, number).headers["Retry-After"] == "2"
    put("traffic", {"limit": None})
    assert list_case(web, portal, number).status_code == 200
    visits = web.get(f"{portal.url}/sandbox/visits", timeout=60).json()
    assert [visit["status"] for visit in visits] == [503, 429, 200]
    seen = web.get(f"{portal.url}/sandbox/traffic", timeout=60).json()
    assert (seen["peak"], seen["peaks"], seen["refused"]) == (1, {"8.26": 1}, 1)
    line = web.get(f"{portal.url}/sandbox/timeline?court=8.26", timeout=60).json()
    assert max(count for _, count in line) == 1
    assert web.get(f"{portal.url}/sandbox/timeline?court=5.02", timeout=60).json() == []
    assert put("traffic", {"limit": "many"}).status_code == 400


# The receiver.


def deliver(
    web: requests.Session, url: str, *, secret: str = SECRET, **more: Any
) -> requests.Response:
    body = json.dumps({"type": "download.completed", "data": {}})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }
    more = {"timeout": 10, "allow_redirects": False} | more
    return web.post(url, data=body, headers=headers, **more)


def test_delivery_is_verified(receiver: WebhookReceiver, web: requests.Session) -> None:
    assert deliver(web, receiver.url).status_code == 204
    deliver(web, receiver.url, secret="whsec_b3RoZXI=")
    web.post(receiver.url, data=b"not signed", timeout=60)
    first, second, third = receiver.wait_for(3, timeout_s=60)
    assert (first.is_verified, second.is_verified, third.is_verified) == (True, False, False)
    assert first.webhook_id == "msg_1"
    assert first.payload["type"] == "download.completed"
    assert third.payload is None


def test_scripted_answers_come_in_order_and_per_path(
    receiver: WebhookReceiver, web: requests.Session
) -> None:
    receiver.answer(status=500, times=2)
    receiver.answer(status=429, headers={"Retry-After": "7"}, body=b"slow down")
    receiver.answer(status=302, headers={"Location": "/elsewhere"}, path="/other", times=None)
    answers = [deliver(web, receiver.url) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [500, 500, 429, 204]
    assert (answers[2].headers["Retry-After"], answers[2].content) == ("7", b"slow down")
    assert [deliver(web, receiver.url_of("/other")).status_code for _ in range(2)] == [302] * 2
    assert len(receiver.wait_for(2, timeout_s=60, path="/other")) == 2
    assert len(receiver.deliveries) == 6


def test_receiver_misbehaves_on_demand(receiver: WebhookReceiver, web: requests.Session) -> None:
    receiver.answer(behaviour="hang")
    receiver.answer(behaviour="close")
    receiver.answer(behaviour="drip")
    receiver.answer(behaviour="flood")
    with pytest.raises(requests.exceptions.ReadTimeout):
        deliver(web, receiver.url, timeout=0.2)
    receiver.wait_for(1, timeout_s=60)  # The first script applies, however late the delivery.
    with pytest.raises(requests.exceptions.ConnectionError):
        deliver(web, receiver.url)
    with closing(deliver(web, receiver.url, stream=True)) as answer:
        assert answer.raw.read(2) == b".."
    with closing(deliver(web, receiver.url, stream=True)) as answer:
        assert len(answer.raw.read(1_000_000)) == 1_000_000
    assert len(receiver.wait_for(4, timeout_s=60)) == 4


def test_a_timeout_names_how_many_came(receiver: WebhookReceiver) -> None:
    with pytest.raises(TimeoutError, match="0 of 1"):
        receiver.wait_for(1, timeout_s=0.01)


def test_uuids_stay_the_same_from_run_to_run() -> None:
    assert CASES["one-pdf"].documents[0].uuid == UUID("a453273c-95ac-59b6-a07c-3c31fdf88fd0")
