"""The commands about watched cases."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC

from autos._client.sync_client import Client
from autos.cli.exits import Exit
from autos.cli.output import print_json, print_rows
from autos.cli.wording import length, local_time, shown
from autos.downloads.v1 import downloads_pb2 as pb


def selection_of(options: Namespace) -> pb.Selection:
    """Return the selection of the options that choose documents."""
    return pb.Selection(
        document_ids=options.document_ids, kinds=options.kinds, filed_from_date=options.since
    )


def subscribe(client: Client, options: Namespace) -> Exit:
    """Watch a case, or change how it is watched. Print the subscription."""
    made = client.subscribe(
        options.process_number,
        interval=options.interval,
        webhook_url=options.webhook_url,
        selection=selection_of(options),
        list_only=options.list_only,
        labels=dict(options.labels),
    )
    _print([made], options)
    return Exit.OK


def unsubscribe(client: Client, options: Namespace) -> Exit:
    """End watching a case."""
    client.unsubscribe(options.process_number)
    return Exit.OK


def subscriptions(client: Client, options: Namespace) -> Exit:
    """Print one watched case a line."""
    _print(list(client.subscriptions()), options)
    return Exit.OK


def _print(found: list[pb.Subscription], options: Namespace) -> None:
    if options.json:
        print_json(*found)
    else:
        print_rows(map(_row, found))


def _row(each: pb.Subscription) -> tuple[str, ...]:
    following = "paused"
    if each.HasField("next_time"):
        following = f"next {local_time(each.next_time.ToDatetime(UTC))}"
    return (
        shown(each.process_number, 30),
        f"every {length(each.interval.seconds)}",
        following,
        shown(each.webhook_url, 100),
    )
