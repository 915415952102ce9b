"""Test which unknown connections are closed, and how a peer is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.access.accepted_sockets import Accepted, peer_name
from server.access.connection_guard import UnknownLimits, address_of, peer_of, surplus

LIMITS = UnknownLimits(most=6, most_of_address=3, age_s=30, grace_s=2)


def crowd(address: str, ages: list[float], *, inode: int = 0) -> list[tuple[Accepted, float]]:
    """Return connections of one address with these ages in seconds."""
    return [(Accepted(inode + i, i, f"{address}:{i}"), age) for i, age in enumerate(ages)]


def closed(unknown: list[tuple[Accepted, float]], limits: UnknownLimits = LIMITS) -> list[int]:
    """Return the inodes of the connections to close."""
    return sorted(each.inode for many in surplus(unknown, limits).values() for each in many)


def test_an_unknown_connection_is_closed_after_its_time() -> None:
    assert closed(crowd("10.0.0.1", [29, 31])) == [1]


def test_an_address_keeps_its_newest_connections() -> None:
    assert closed(crowd("10.0.0.1", [9, 3, 20, 4, 5])) == [0, 2]


def test_many_new_connections_of_one_address_have_a_grace_only_while_there_is_room() -> None:
    assert closed(crowd("10.0.0.1", [0, 0, 1, 1, 1])) == []
    assert closed(crowd("10.0.0.1", [0, 0, 0, 1, 1, 1, 1])) == [3, 4, 5, 6]


def test_all_addresses_together_have_a_limit_and_the_oldest_go() -> None:
    each = [one for i in range(8) for one in crowd(f"10.0.0.{i}", [float(i)], inode=10 * i)]
    assert closed(each) == [60, 70]


def test_a_crowd_of_one_address_costs_no_other_address_a_place() -> None:
    others = [one for i in range(3) for one in crowd(f"10.0.1.{i}", [25.0], inode=100 + i)]
    assert closed(crowd("10.0.0.1", [0.0] * 50) + others) == list(range(3, 50))


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert address_of("[2001:db8::1]:5") == address_of("[2001:db8::ffff:2]:6")
    assert address_of("[2001:db8::1]:5") != address_of("[2001:db8:0:1::1]:5")
    assert address_of("10.0.0.1:5") == "10.0.0.1"


@pytest.mark.parametrize(
    ("by_grpc", "by_socket"),
    [
        ("ipv4:127.0.0.1:5", ("127.0.0.1", 5)),
        ("ipv4:127.0.0.1:5", ("::ffff:127.0.0.1", 5)),
        ("ipv6:%5B::1%5D:5", ("::1", 5)),
        ("ipv6:%5Bfe80::1%252%5D:5", ("fe80::1%eth0", 5)),
    ],
)
def test_grpc_and_the_socket_give_one_name(by_grpc: str, by_socket: tuple[str, int]) -> None:
    class Context:
        def peer(self) -> str:
            return by_grpc

    assert peer_of(Context()) == peer_name(*by_socket)


def test_without_room_for_all_not_even_new_connections_stay() -> None:
    assert closed(crowd("10.0.0.1", [0.0] * 4), replace(LIMITS, most=3)) == [3]
