"""Test the spool: private files with reserved room, on a disk that may be full."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import stat
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from storage.errors import ConfigurationError, PermanentError, ServiceUnavailable
from storage.spool import GROWTH_BYTES, HEADROOM_BYTES, ID_FILE, UNKNOWN_SIZE_BYTES, Spool
from tests.integration.harness.concurrency import run_concurrently

MIB = 1024 * 1024


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


def _make(spool: Spool, size_bytes: int, *, announced_bytes: int | None = None) -> UUID:
    lease = uuid4()
    with spool.create(lease, size_bytes if announced_bytes is None else announced_bytes) as file:
        for _ in range(0, size_bytes, MIB):
            file.write(b"x" * min(MIB, size_bytes))
    return lease


# Identity.


def test_a_spool_keeps_its_identity(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool", None, MIB)

    assert Spool(tmp_path / "spool", None, MIB).spool_id == first.spool_id
    assert Spool(tmp_path / "another", None, MIB).spool_id != first.spool_id


def test_a_given_identity_counts(tmp_path: Path) -> None:
    given = uuid4()

    assert Spool(tmp_path, given, MIB).spool_id == given


def test_processes_that_begin_at_once_agree_on_the_identity(tmp_path: Path) -> None:
    made = run_concurrently([lambda: Spool(tmp_path / "spool", None, MIB)] * 10)

    assert len({spool.spool_id for spool in made}) == 1


@pytest.mark.parametrize("spoiled", ["folder", "identity"])
def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path, spoiled: str) -> None:
    folder = tmp_path / "spool"
    if spoiled == "folder":
        folder.write_text("a file")
    else:
        folder.mkdir()
        (folder / ID_FILE).write_text("no UUID")

    with pytest.raises(ConfigurationError, match=r"^SPOOL_DIR: the "):
        Spool(folder, None, MIB)


# Files.


def test_folder_and_files_are_private(spool: Spool) -> None:
    lease = _make(spool, 10)

    path = spool.path(lease)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("announced_bytes", [None, 1, 5 * MIB, 6 * MIB])
def test_a_file_holds_what_was_written_and_no_more(
    spool: Spool, announced_bytes: int | None
) -> None:
    data = os.urandom(5 * MIB)
    lease = uuid4()

    with spool.create(lease, announced_bytes) as file:
        for start in range(0, len(data), 65_537):
            file.write(data[start : start + 65_537])

    assert spool.path(lease).read_bytes() == data


def test_a_claim_has_one_file(spool: Spool) -> None:
    lease = uuid4()
    with spool.create(lease, 10), pytest.raises(FileExistsError), spool.create(lease, 10):
        raise AssertionError("a second file of one claim")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ServiceUnavailable])
def test_no_error_leaves_a_file(spool: Spool, error: type[BaseException]) -> None:
    lease = uuid4()

    def cut() -> None:
        with spool.create(lease, 10) as file:
            file.write(b"half")
            raise error("cut")

    with pytest.raises(error):
        cut()

    assert not spool.path(lease).exists()


def test_a_file_that_the_disk_does_not_let_go_is_logged_and_interrupts_nothing(
    spool: Spool,
) -> None:
    lease = uuid4()
    spool.remove(lease)
    spool.path(lease).mkdir()
    with capture_logs() as lines:
        spool.remove(lease)
        spool.remove(lease)
        spool.path(lease).rmdir()
        spool.remove(lease)
    assert [(line["event"], line.get("code")) for line in lines] == [
        ("part refuses", "EISDIR"),
        ("part answers again", None),
    ]


def test_removing_what_is_not_there_is_no_error(spool: Spool) -> None:
    lease = _make(spool, 10)

    spool.remove(lease)
    spool.remove(lease)

    assert not spool.path(lease).exists()


# Room.


def test_room_is_taken_before_the_first_byte(tmp_path: Path) -> None:
    spool = Spool(tmp_path, None, 10 * MIB)
    lease = uuid4()

    with spool.create(lease, 7 * MIB):
        assert spool.path(lease).stat().st_size == 7 * MIB
        assert spool.path(lease).stat().st_blocks * 512 >= 7 * MIB, "promised, but not there"
        with pytest.raises(ServiceUnavailable, match="spool"):
            _make(spool, 4 * MIB)
        assert len(_files(tmp_path)) == 1, "what found no room left a file"
        _make(spool, 3 * MIB)


def test_room_is_free_again_when_a_file_ends_smaller_or_goes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, None, 10 * MIB)
    small = _make(spool, MIB, announced_bytes=10 * MIB)

    full = _make(spool, 9 * MIB)
    with pytest.raises(ServiceUnavailable):
        _make(spool, MIB)

    spool.remove(small)
    _make(spool, MIB)
    spool.remove(full)
    _make(spool, 9 * MIB)


def test_a_file_that_outgrows_its_room_takes_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path, None, 30 * MIB)
    lease = uuid4()

    with spool.create(lease, None) as file:
        assert spool.path(lease).stat().st_size == UNKNOWN_SIZE_BYTES
        file.write(b"x" * (UNKNOWN_SIZE_BYTES + 1))
        assert spool.path(lease).stat().st_size == UNKNOWN_SIZE_BYTES + 1 + GROWTH_BYTES


def test_a_file_that_cannot_grow_goes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, None, 4 * MIB)
    _make(spool, 2 * MIB)

    with pytest.raises(ServiceUnavailable):
        _make(spool, 3 * MIB, announced_bytes=MIB)

    assert [path.stat().st_size for path in _files(tmp_path)] == [2 * MIB]


def test_a_file_may_fill_the_spool_to_its_last_byte(tmp_path: Path) -> None:
    spool = Spool(tmp_path, None, 4 * MIB)

    _make(spool, 4 * MIB, announced_bytes=1)

    assert [path.stat().st_size for path in _files(tmp_path)] == [4 * MIB]


@pytest.mark.parametrize("announced_bytes", [5 * MIB, 1])
def test_what_never_fits_is_too_large_and_not_waited_for(
    tmp_path: Path, announced_bytes: int
) -> None:
    spool = Spool(tmp_path, None, 4 * MIB)

    with pytest.raises(PermanentError) as caught:
        _make(spool, 5 * MIB, announced_bytes=announced_bytes)

    assert caught.value.reason == "TOO_LARGE"
    assert caught.value.is_requested is (announced_bytes == 1)
    assert _files(tmp_path) == []


def test_files_that_go_while_room_is_counted_do_no_harm(tmp_path: Path) -> None:
    # Given so many files that counting them takes a while
    spool = Spool(tmp_path, None, 1_000 * MIB)
    for _ in range(300):
        (tmp_path / f"{uuid4()}.part").touch()

    def come_and_go() -> None:
        for _ in range(40):
            spool.remove(_make(spool, 10))

    run_concurrently([come_and_go] * 6)

    assert len(_files(tmp_path)) == 300


def test_room_is_never_given_away_twice(tmp_path: Path) -> None:
    for index in range(10):
        folder = tmp_path / str(index)
        spool = Spool(folder, None, 8 * MIB)
        for _ in range(100):
            (folder / f"{uuid4()}.part").touch()

        made = run_concurrently([partial(_has_room, spool)] * 16)

        assert sum(made) == 8


def _has_room(spool: Spool) -> bool:
    try:
        _make(spool, MIB)
    except ServiceUnavailable:
        return False
    return True


def _fill(folder: Path, max_bytes: int) -> int:
    """Return how many files of 1 MiB find room; runs in its own process."""
    spool = Spool(folder, None, max_bytes)
    for made in range(1_000):
        try:
            _make(spool, MIB)
        except ServiceUnavailable:
            return made
    return 1_000


def test_processes_share_one_limit(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawn) as pool:
        made = list(pool.map(partial(_fill, max_bytes=20 * MIB), [tmp_path / "spool"] * 3))

    assert sum(made) == len(_files(tmp_path / "spool")) == 20


# The disk.


def test_a_disk_that_would_be_full_is_waited_for(tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    spool = Spool(tmp_path, None, 2**50)

    with pytest.raises(ServiceUnavailable):
        _make(spool, 1, announced_bytes=free_bytes - HEADROOM_BYTES // 2)

    assert _files(tmp_path) == []


def _outgrow(folder: Path, announced_bytes: int | None) -> str:
    """Return the part that the error of a full disk names; runs in its own process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, 3 * MIB))
    spool = Spool(folder, None, 100 * MIB)
    try:
        _make(spool, 16 * MIB, announced_bytes=announced_bytes)
    except ServiceUnavailable as error:
        return error.part
    return "stored"


@pytest.mark.parametrize("announced_bytes", [16 * MIB, 1])
def test_a_disk_that_takes_no_more_is_waited_for(tmp_path: Path, announced_bytes: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        part = pool.submit(_outgrow, tmp_path / "spool", announced_bytes).result(100)

    assert part == "Room in the spool"
    assert _files(tmp_path / "spool") == []


# Leftovers.


def test_leftovers_are_found_by_age(spool: Spool) -> None:
    old, young = _make(spool, 10), _make(spool, 10)
    now = spool.path(young).stat().st_mtime
    os.utime(spool.path(old), (now - 100, now - 100))
    spool.path(old).with_name("notes.part").write_text("no token")
    spool.path(old).with_name("notes.txt").write_text("no spool file")

    assert spool.leases(older_than_s=60, now=now) == {old: spool.path(old)}
    assert set(spool.leases(older_than_s=0, now=now + 1)) == {old, young}
    assert spool.leases(older_than_s=200, now=now) == {}
