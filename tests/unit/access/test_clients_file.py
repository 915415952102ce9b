"""Test the clients file: parsed strictly, reported in one sentence, and never half applied."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dev.embedded.sandbox import ROOT
from server.access.add_client import PREFIX, add_token, main, remove, secrets_of, tokens_of
from storage.clients.client_registry import (
    CallingClient,
    CaseAccess,
    ClientLimits,
    ClientRegistry,
    KnownClient,
)
from storage.clients.clients_file import ClientsFile, read, registry_of
from storage.clients.webhook_secrets import WebhookSecrets
from storage.errors import CaseNotAllowed, ConfigurationError
from tests.descriptors import no_free_descriptor

DEFAULTS = ClientLimits(60, 7, 8, 9, 10)
TOKEN = "a-planted-token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
GOOD: dict[str, Any] = {"name": "billing", "tokens": [{"sha256": DIGEST}]}


def _file(folder: Path, content: object) -> Path:
    file = folder / "clients.json"
    text = content if isinstance(content, str) else json.dumps(content)
    # The file is replaced, so that its inode changes even within one clock tick.
    new = folder / "new"
    new.write_text(text)
    new.replace(file)
    return file


def _registry(folder: Path, *entries: dict[str, Any]) -> ClientRegistry:
    return read(_file(folder, {"clients": entries}), DEFAULTS)


def test_a_client_is_found_by_each_of_its_tokens_and_certificates(tmp_path: Path) -> None:
    tokens = [f"token {number}" for number in range(3)]
    hashes = [
        {"sha256": hashlib.sha256(token.encode()).hexdigest(), "created": "2026-01-31"}
        for token in tokens
    ]
    registry = _registry(
        tmp_path,
        {"name": "a", "tokens": hashes[:2], "limits": {"jobs_at_once": 1}},
        {"name": "b", "tokens": hashes[2:], "certificates": ["b.internal", "spiffe://b"]},
        {"name": "c"},
    )

    found = [registry.by_token(token) for token in tokens]
    assert [client.name for client in found if client] == ["a", "a", "b"]
    assert [client.limits for client in found if client] == [
        *(replace(DEFAULTS, jobs_at_once=1), replace(DEFAULTS, jobs_at_once=1), DEFAULTS)
    ]
    assert registry.by_token("token 4") is None
    assert registry.by_token(str(hashes[0]["sha256"])) is None
    assert registry.by_certificate(["other", "spiffe://b"]) == found[2]
    assert registry.by_certificate(["other"]) is None


NUMBER = "1003579-22.2025.8.26.0564"
SECRET, OTHER_SECRET = ("whsec_" + base64.b64encode(seed * 32).decode() for seed in (b"a", b"b"))
OTHER_COURT = "0000001-06.2025.8.19.0001"


def _access(folder: Path, *entries: dict[str, Any]) -> list[CaseAccess]:
    """What each client of a file may ask for."""
    named = [
        {"name": f"c{i}", "certificates": [f"c{i}"], **entry} for i, entry in enumerate(entries)
    ]
    registry = _registry(folder, *named)
    found = [registry.by_certificate([f"c{i}"]) for i in range(len(entries))]
    return [client.access for client in found if client]


def test_sealed_cases_are_refused_by_default_once_there_are_several_clients(tmp_path: Path) -> None:
    def refuses(*entries: dict[str, Any]) -> list[bool]:
        return [access.refuses_sealed for access in _access(tmp_path, *entries)]

    assert refuses({}) == [False]
    assert refuses({"sealed": "refuse"}) == [True]
    assert refuses({}, {}) == [True, True]
    assert refuses({"sealed": "fetch"}, {}, {"sealed": "refuse"}) == [False, True, True]


def _may(access: CaseAccess, number: str) -> bool:
    try:
        access.require(number)
    except CaseNotAllowed:
        return False
    return True


def test_courts_and_cases_restrict_what_a_client_may_ask_for(tmp_path: Path) -> None:
    every, court, case, both = _access(
        tmp_path,
        {},
        {"courts": ["8.26", "4.03"]},
        {"cases": [NUMBER.replace("-", "").replace(".", ""), OTHER_COURT]},
        {"courts": ["8.19"], "cases": [NUMBER, OTHER_COURT]},
    )
    another = "0000001-05.2025.8.26.0100"

    assert [_may(every, n) for n in (NUMBER, another, OTHER_COURT)] == [True, True, True]
    assert [_may(court, n) for n in (NUMBER, another, OTHER_COURT)] == [True, True, False]
    assert [_may(case, n) for n in (NUMBER, another, OTHER_COURT)] == [True, False, True]
    assert [_may(both, n) for n in (NUMBER, another, OTHER_COURT)] == [False, False, True]


WRONG: dict[str, tuple[object, str]] = {
    "nothing": ("", "it is not JSON: Expecting value, line 1, column 1"),
    "half": ('{"clients": [', "it is not JSON: Expecting value, line 1, column 14"),
    "a list": ([], "it must be an object with clients"),
    "no clients": ({}, "it has no clients"),
    "none": ({"clients": []}, "clients must name at least one client"),
    "more": ({"clients": [GOOD], "x": 1}, "it has a key that is none of clients"),
    "twice": ('{"clients": [], "clients": []}', "a key stands twice in one object"),
    "an object": ({"clients": {}}, "clients must be a list"),
    "a name alone": (
        {"clients": ["billing"]},
        "clients[0] must be an object with "
        "cases, certificates, courts, limits, name, sealed, tokens, webhook_secrets",
    ),
    "nameless": ({"clients": [GOOD, {}]}, "clients[1] has no name"),
    "a typo": (
        {"clients": [GOOD | {"token": TOKEN}]},
        "clients[0] has a key that is none of "
        "cases, certificates, courts, limits, name, sealed, tokens, webhook_secrets",
    ),
    "a token itself": (
        {"clients": [GOOD | {"tokens": [TOKEN]}]},
        "clients[0].tokens[0] must be an object with created, sha256",
    ),
    "a token for a hash": (
        {"clients": [GOOD | {"tokens": [{"sha256": TOKEN}]}]},
        "clients[0].tokens[0].sha256 must be the SHA-256 of a token,"
        " 64 lower-case hexadecimal digits",
    ),
    "capitals": (
        {"clients": [GOOD | {"tokens": [{"sha256": DIGEST.upper()}]}]},
        "clients[0].tokens[0].sha256 must be the SHA-256 of a token,"
        " 64 lower-case hexadecimal digits",
    ),
    "no day": (
        {"clients": [GOOD | {"tokens": [{"sha256": DIGEST, "created": "20260131"}]}]},
        "clients[0].tokens[0].created must be a date such as 2026-01-31",
    ),
    "a name twice": (
        {"clients": [GOOD, {"name": "billing"}]},
        "clients[1] has a name, token, certificate or webhook secret of clients[0]",
    ),
    "a token twice": (
        {"clients": [GOOD, GOOD | {"name": "other"}]},
        "clients[1] has a name, token, certificate or webhook secret of clients[0]",
    ),
    "a certificate twice": (
        {"clients": [{"name": "a", "certificates": ["x"]}, {"name": "b", "certificates": ["x"]}]},
        "clients[1] has a name, token, certificate or webhook secret of clients[0]",
    ),
    "an empty certificate": (
        {"clients": [{"name": "a", "certificates": [""]}]},
        "clients[0].certificates[0] must be a name as it stands in a certificate",
    ),
    "no limit": (
        {"clients": [GOOD | {"limits": {"jobs_at_once": 0}}]},
        "clients[0].limits.jobs_at_once must be a whole number from 1 to 1000000",
    ),
    "true": (
        {"clients": [GOOD | {"limits": {"open_watches": True}}]},
        "clients[0].limits.open_watches must be a whole number from 1 to 1000000",
    ),
    "a limit of nothing": (
        {"clients": [GOOD | {"limits": {"starts": 5}}]},
        "clients[0].limits has a key that is none of calls_at_once, jobs_at_once, open_watches,"
        " repeats_per_minute, starts_per_minute, subscriptions, waiting_jobs",
    ),
    "a weak webhook secret": (
        {"clients": [GOOD | {"webhook_secrets": [SECRET, "whsec_c2hvcnQ="]}]},
        "clients[0].webhook_secrets[1] must be whsec_ and the base64 of 24 to 64 bytes",
    ),
    "a webhook secret of another client": (
        {
            "clients": [
                GOOD | {"webhook_secrets": [SECRET]},
                {"name": "b", "webhook_secrets": [OTHER_SECRET, SECRET]},
            ]
        },
        "clients[1] has a name, token, certificate or webhook secret of clients[0]",
    ),
    "no court": (
        {"clients": [GOOD | {"courts": ["8.26", "8.99"]}]},
        "clients[0].courts[1] must be a court as J.TR, such as 8.26",
    ),
    "a court as a number": (
        {"clients": [GOOD | {"courts": [8.26]}]},
        "clients[0].courts[0] must be a court as J.TR, such as 8.26",
    ),
    "courts as a text": (
        {"clients": [GOOD | {"courts": "8.26"}]},
        "clients[0].courts must be a list",
    ),
    "courts but none": (
        {"clients": [GOOD | {"courts": []}]},
        "clients[0].courts must not be empty; without it the client may ask for all",
    ),
    "a case with wrong check digits": (
        {"clients": [GOOD, {"name": "b", "cases": ["1003579-23.2025.8.26.0564"]}]},
        "clients[1].cases[0] must be a process number with right check digits",
    ),
    "a case as a number": (
        {"clients": [GOOD | {"cases": [10035792220258260564]}]},
        "clients[0].cases[0] must be a process number with right check digits",
    ),
    "cases but none": (
        {"clients": [GOOD | {"cases": []}]},
        "clients[0].cases must not be empty; without it the client may ask for all",
    ),
    **{
        f"sealed as {value!r}": (
            {"clients": [GOOD | {"sealed": value}]},
            "clients[0].sealed must be fetch or refuse",
        )
        for value in ("Fetch", "", "share", True, None, 1)
    },
    **{
        f"the name {name!r}": (
            {"clients": [GOOD | {"name": name}]},
            "clients[0].name must be 1 to 63 of a-z, 0-9 and inner hyphens",
        )
        for name in ("", "A", "a b", "-a", "a-", "../x", "a/b", "á", "a" * 64, 5, None)
    },
}


@pytest.mark.parametrize(("content", "expected"), WRONG.values(), ids=WRONG)
def test_errors_are_reported_in_one_sentence_without_the_value(
    tmp_path: Path, content: object, expected: str
) -> None:
    file = _file(tmp_path, content)

    with pytest.raises(ConfigurationError) as caught:
        ClientsFile(file, DEFAULTS)

    assert str(caught.value) == f"AUTOS_CLIENTS_FILE: {file}: {expected}."
    assert TOKEN not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClientsFile(tmp_path / "none", DEFAULTS)

    assert str(caught.value).endswith("none: it cannot be read (No such file or directory).")


_KEYS = st.sampled_from(
    [
        *("clients", "name", "tokens", "sha256", "certificates", "limits", "x"),
        *("courts", "cases", "sealed", "webhook_secrets"),
    ]
)
_VALUES = st.recursive(
    st.sampled_from([None, True, 1, 0.5, "billing", DIGEST, "2026-01-31"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.binary() | _VALUES.map(lambda value: json.dumps({"clients": [value]}).encode()))
def test_any_content_is_either_accepted_or_reported(content: bytes) -> None:
    try:
        registry = registry_of(content, DEFAULTS)
    except ValueError as error:
        expected = str(error)
    else:
        expected = str(registry)

    assert expected


def test_a_changed_file_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    clients = ClientsFile(_file(tmp_path, {"clients": [GOOD]}), DEFAULTS)
    first = clients.registry
    clients.refresh()
    assert clients.registry is first

    for broken in ("", '{"clients": []}'):
        _file(tmp_path, broken)
        clients.refresh()
        assert clients.registry is first
    (tmp_path / "clients.json").unlink()
    clients.refresh()
    assert clients.registry is first

    _file(tmp_path, {"clients": [{"name": "other"}]})
    clients.refresh()
    assert clients.registry.by_token(TOKEN) is None


def test_a_file_that_could_not_be_read_is_read_again_although_it_did_not_change(
    tmp_path: Path,
) -> None:
    # Given a changed file, and no descriptor to open it with
    clients = ClientsFile(_file(tmp_path, {"clients": [{"name": "other"}]}), DEFAULTS)
    _file(tmp_path, {"clients": [GOOD]})
    with capture_logs() as lines, no_free_descriptor():
        for _ in range(3):
            clients.refresh()
        assert "it cannot be read" in clients.problem
    assert len(lines) == 1
    # When there is one again
    clients.refresh()
    # Then the new client is known
    assert clients.registry.by_token(TOKEN)
    assert clients.problem == ""


def test_what_a_changed_file_lacks_is_a_trouble_until_it_is_valid(tmp_path: Path) -> None:
    secrets = WebhookSecrets((), ClientsFile(_file(tmp_path, {"clients": [GOOD]}), DEFAULTS))
    assert secrets.troubles() == []
    for content, is_valid in (("", False), ({"clients": [GOOD]}, True)):
        _file(tmp_path, content)
        secrets.current("any")
        assert (secrets.troubles() == []) is is_valid


def test_a_new_token_works_beside_the_old_one_until_that_is_taken_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "clients.json"
    tokens = [_made(file, "billing", capsys) for _ in range(2)]
    others = _made(file, "archive", capsys)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [token for token in (*tokens, others) if token in file.read_text()]
    registry = read(file, DEFAULTS)
    assert [getattr(registry.by_token(t), "name", None) for t in (*tokens, others)] == [
        *("billing", "billing", "archive")
    ]
    old, new = tokens_of(file, "billing")
    assert old != new
    remove(file, "billing", old.split()[0])
    registry = read(file, DEFAULTS)
    assert registry.by_token(tokens[0]) is None
    assert registry.by_token(tokens[1])
    assert tokens_of(file, "billing") == [new]


def _made(file: Path, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one token that the command prints."""
    assert main([str(file), name]) == 0
    [token] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(PREFIX)]
    return token


def test_an_impossible_change_is_reported_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, {"clients": [GOOD, {"name": "c", "certificates": ["c"]}]})
    before = file.read_text()

    for arguments in (
        ["No Name"],
        ["billing", "--remove", ""],
        ["billing", "--remove", "ff"],
        ["c", "--remove", DIGEST],
        ["nobody", "--remove", DIGEST],
    ):
        assert main([str(file), *arguments]) == 1
        expected = capsys.readouterr()
        assert expected.out == ""
        assert expected.err.startswith("autos: ")
        assert expected.err.count("\n") == 1
    assert file.read_text() == before
    broken = _file(tmp_path, "{")
    assert main([str(broken), "billing"]) == 1
    assert broken.read_text() == "{"


def test_tokens_made_in_the_same_moment_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "clients.json"
    threads = [
        threading.Thread(target=add_token, args=(file, f"client-{number % 3}"))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sum(len(tokens_of(file, f"client-{number}")) for number in range(3)) == 12


def test_the_file_keeps_its_permissions_and_a_link_stays_one(tmp_path: Path) -> None:
    file = _file(tmp_path, {"clients": [GOOD]})
    file.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(file)

    add_token(link, "billing")

    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert len(tokens_of(file, "billing")) == 2


def test_a_token_is_found_without_a_walk_over_all_of_them() -> None:
    class Counted(bytes):
        """A digest that counts its comparisons."""

        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return super().__eq__(other)

        __hash__ = bytes.__hash__

    digests = [Counted(hashlib.sha256(f"token-{i}".encode()).digest()) for i in range(20_000)]
    registry = ClientRegistry(
        KnownClient(CallingClient(f"c{i}"), (each,)) for i, each in enumerate(digests)
    )
    Counted.compared = 0

    found = registry.by_token("token-19999")

    assert found == CallingClient("c19999")
    assert registry.by_token("token-20000") is None
    assert Counted.compared < 10


def test_a_client_beside_others_has_a_webhook_secret_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clients.json"

    assert main([str(file), "billing"]) == 0
    assert "whsec_" not in capsys.readouterr().out
    assert main([str(file), "archive"]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("whsec_")]

    known = read(file, DEFAULTS).webhook_secrets
    assert known == {"billing": (), "archive": tuple(shown)}
    assert len(shown) == 1
    # A second token brings no second secret.
    assert main([str(file), "archive"]) == 0
    assert read(file, DEFAULTS).webhook_secrets == known


def test_a_webhook_secret_is_replaced_by_one_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clients.json"
    add_token(file, "billing")
    tokens = tokens_of(file, "billing")

    for _ in range(2):
        assert main([str(file), "billing", "--webhook-secret"]) == 0
    capsys.readouterr()
    old, new = read(file, DEFAULTS).webhook_secrets["billing"]
    first, second = secrets_of(file, "billing")
    assert main([str(file), "billing", "--remove", first]) == 0

    assert read(file, DEFAULTS).webhook_secrets["billing"] == (new,)
    assert old != new
    assert secrets_of(file, "billing") == [second]
    assert tokens_of(file, "billing") == tokens
    assert "whsec_" not in capsys.readouterr().out


def test_a_file_that_everybody_may_read_gets_no_webhook_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, {"clients": [GOOD]})
    file.chmod(0o644)
    before = file.read_text()

    for arguments in (["archive"], ["billing", "--webhook-secret"]):
        assert main([str(file), *arguments]) == 1
        assert "chmod o=" in capsys.readouterr().err
    assert main([str(file), "archive", "--webhook-secret"]) == 1
    assert "There is no client archive" in capsys.readouterr().err
    assert file.read_text() == before


def test_the_example_of_the_documentation_is_a_clients_file() -> None:
    text = (ROOT / "docs" / "howto" / "authenticate-clients.md").read_text()
    example = text.partition("```json\n")[2].partition("```")[0]

    registry = registry_of(example.encode(), DEFAULTS)

    assert list(registry.webhook_secrets) == ["billing", "press"]
    press = registry.by_token("test2")
    assert press
    assert press.access.refuses_sealed
