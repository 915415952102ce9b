"""A database of the first release is brought forward with what is in it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from playhouse.migrations import Runner

from dev.servers import Servers
from storage import jobs
from storage.database import Database
from storage.migrate import FOLDER, migrate
from tests.databases import create_database

NUMBER = "1003579-22.2025.8.26.0564"


@pytest.fixture
def old_url(servers: Servers) -> str:
    """A database as the first release left it, with an ended job and its webhook."""
    url = create_database(servers.env["DATABASE_URL"], "upgrade")
    database = Database(url, max_connections=1)
    with database.raw() as db:
        Runner(db, directory=str(FOLDER)).up("0001_initial")
    job_id, event_id = uuid4(), uuid4()
    with database.transaction() as transaction:
        transaction.run(
            "INSERT INTO jobs (job_id, client, process_number, state, total_documents,"
            " listed_time, start_time, end_time, deadline_time, max_age_s) VALUES (%(job_id)s,"
            " 'default', %(number)s, 'COMPLETED', 0, now(), now(), now(), now(), 0)",
            job_id=job_id,
            number=NUMBER,
        )
        transaction.run(
            "INSERT INTO events (event_id, job_id, run, type, event_time)"
            " VALUES (%(event_id)s, %(job_id)s, 1, 'download.completed', now())",
            event_id=event_id,
            job_id=job_id,
        )
        transaction.run(
            "INSERT INTO webhooks (job_id, position, url, state, event_id, webhook_id,"
            " attempt_count, delivered_time) VALUES (%(job_id)s, 0,"
            " 'https://hooks.tribunal.jus.br:8443/in?token=x', 'DELIVERED', %(event_id)s,"
            " 'msg_old', 1, now())",
            event_id=event_id,
            job_id=job_id,
        )
    database.close()
    return url


def test_an_old_database_is_brought_forward_with_its_rows(old_url: str) -> None:
    database = Database(old_url, max_connections=1)

    applied = migrate(database)

    assert applied == sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))[1:]
    with database.transaction() as transaction:
        hook = transaction.only("SELECT receiver, earlier_attempt_count FROM webhooks")
    assert hook == {"receiver": "https://hooks.tribunal.jus.br:8443", "earlier_attempt_count": 0}
    view = jobs.newest(database, "default", NUMBER)
    assert view.job.is_ended
    assert [w.webhook_id for w in view.webhooks] == ["msg_old"]
    database.close()
