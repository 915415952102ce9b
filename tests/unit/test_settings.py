"""The settings name every problem at once and never show a secret."""

from __future__ import annotations

import base64
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigurationError
from storage.settings import PORTAL_URL, Settings

SECRET = "planted-secret"
KEY = "whsec_" + base64.b64encode(f"{SECRET}-of-some-length".encode()).decode()
NEEDED = {
    "DATABASE_URL": f"postgresql://autos:{SECRET}@db/autos",
    "REDIS_URL": f"redis://:{SECRET}@redis:6379/0",
    "S3_ENDPOINT_URL": "http://s3:9000",
    "S3_ACCESS_KEY_ID": f"{SECRET}-id",
    "S3_SECRET_ACCESS_KEY": f"{SECRET}-key",
    "PDPJ_TOKEN": f"{SECRET}-token",
    "WEBHOOK_SECRET": KEY,
}
WRONG = {
    "DATABASE_URL": ("mysql://db/autos", "postgresql://db", "postgresql://db/", "db", "["),
    "REDIS_URL": ("http://redis", "redis", "redis://h:0", "redis://h:port"),
    "S3_ENDPOINT_URL": (
        *("s3:9000", "ftp://s3", "http://", "http://s3/path", "http://s3?a=b", "http://s3?"),
        *("http://s3#a", f"http://user:{SECRET}@s3", f"http://:{SECRET}@s3", "http://s3:99999"),
    ),
    "S3_PUBLIC_ENDPOINT_URL": ("s3", f"https://:{SECRET}@s3"),
    "PDPJ_BASE_URL": ("portal", "https://portal/api"),
    "GRPC_LISTEN": ("50051", ":50051", "host:", "host:port", "host:65536", "host:\u0661"),
    "WEBHOOK_SECRET": (
        *(SECRET, f"whsec_{SECRET}", ",", f"{KEY},{SECRET}", KEY.removeprefix("whsec_")),
        *("whsec_" + base64.b64encode(b"k" * size).decode() for size in (0, 23, 65)),
        f"whsec_ç{SECRET}",
    ),
    "LANES_PER_JOB": ("0", "101", "-1", "+5", "5.0", "five", "\u0665"),
    "WORKER_PROCESSES": ("0", "65"),
    "WORKER_THREADS": ("0", "257"),
    "SPOOL_ID": ("h1", "1234"),
    "SPOOL_MAX_BYTES": ("0", "1", "8GiB", "9" * 30),
    "DOCUMENT_MAX_BYTES": ("0", "9" * 30),
    "DOCUMENT_DEADLINE_S": ("0", "86401"),
    "JOB_DEADLINE_S": ("0",),
    "LISTING_MAX_AGE_S": ("-1", "1h"),
    "ATTEMPTS": ("0", "21"),
    "ATTEMPTS_FEW": ("0",),
    "RETRY_BASE_MS": ("0",),
    "LEASE_S": ("2", "601"),
    "CLOCK_INTERVAL_MS": ("49",),
    "LOG_FORMAT": ("xml",),
}


def _problems(env: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(env)
    return str(caught.value)


def test_every_missing_variable_is_named_at_once() -> None:
    problems = _problems({})

    assert [name for name in NEEDED if f"{name} is not set" in problems] == list(NEEDED)
    assert problems.count(" is not set") == len(NEEDED)


def test_blank_counts_as_missing() -> None:
    assert _problems({**NEEDED, "PDPJ_TOKEN": " \t"}) == "PDPJ_TOKEN is not set."


def test_every_wrong_variable_is_named_at_once() -> None:
    problems = _problems({**NEEDED, **{name: values[0] for name, values in WRONG.items()}})

    assert [name for name in WRONG if f"{name} " in problems] == list(WRONG)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_a_wrong_value_is_refused_by_its_rule_and_not_repeated(name: str, value: str) -> None:
    problems = _problems({**NEEDED, name: value})

    assert problems.startswith(f"{name} ")
    assert problems.endswith(".")
    assert "; " not in problems.replace("bytes (several; ", "")
    assert SECRET not in problems


@given(
    name=st.sampled_from(sorted(NEEDED)),
    value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_no_value_is_ever_shown(name: str, value: str) -> None:
    planted = f"planted{value}planted"
    try:
        shown = repr(Settings.from_env({**NEEDED, name: planted}))
    except ConfigurationError as error:
        shown = str(error)
    assert planted not in shown


def test_no_secret_in_the_repr() -> None:
    settings = Settings.from_env(NEEDED)

    for shown in (repr(settings), str(settings), f"{settings}"):
        assert SECRET not in shown
        assert KEY not in shown


def test_defaults() -> None:
    settings = Settings.from_env(NEEDED)

    assert settings.s3_bucket == "autos"
    assert settings.s3_region == "us-east-1"
    assert settings.s3_public_endpoint_url == settings.s3_endpoint_url == "http://s3:9000"
    assert settings.pdpj_base_url == PORTAL_URL
    assert settings.grpc_listen == "127.0.0.1:50051"
    assert settings.webhook_secrets == (KEY,)
    assert settings.webhook_allowed_hosts == ()
    assert settings.lanes_per_job == 5
    assert (settings.worker_processes, settings.worker_threads) == (2, 16)
    assert (settings.data_dir, settings.spool_dir) == (Path("var"), Path("var/spool"))
    assert settings.spool_id is None
    assert settings.spool_max_bytes == 8 * 2**30
    assert settings.document_max_bytes == 2 * 2**30
    assert settings.document_deadline_s == 300
    assert settings.job_deadline_s == 24 * 3_600
    assert settings.listing_max_age_s == 3_600
    assert (settings.attempts, settings.attempts_few, settings.retry_base_ms) == (5, 3, 1_000)


def test_what_is_set_is_taken() -> None:
    settings = Settings.from_env(
        {
            **NEEDED,
            "DATA_DIR": "/data",
            "S3_PUBLIC_ENDPOINT_URL": "https://files.example.org/",
            "SPOOL_ID": "6f0a1f5e-5f0b-4a0f-9d55-2f5f6c1f3a10",
            "WEBHOOK_SECRET": f"{KEY}, {KEY}",
            "WEBHOOK_ALLOWED_HOSTS": " a.org , *.b.org,, ",
            "LISTING_MAX_AGE_S": "0",
        }
    )

    assert settings.spool_dir == Path("/data/spool")
    assert settings.s3_public_endpoint_url == "https://files.example.org"
    assert settings.spool_id == UUID("6f0a1f5e-5f0b-4a0f-9d55-2f5f6c1f3a10")
    assert settings.webhook_secrets == (KEY, KEY)
    assert settings.webhook_allowed_hosts == ("a.org", "*.b.org")
    assert settings.listing_max_age_s == 0
