"""Make tables so large that PostgreSQL uses indexes: it reads a table of a few pages whole."""

from __future__ import annotations

from contextlib import closing
from functools import cache

import psycopg2

from tests.databases import create_database
from tests.integration.harness.empty_databases import TEMPLATE
from tests.integration.harness.factories import CLIENT

JOBS, DOCUMENTS = 3_000, 200
_RECEIVER = "https://hooks.tribunal.jus.br"

# Every job belongs to one client and has a due webhook; one in ten has documents.
_JOBS = """
INSERT INTO jobs (job_id, client, process_number, state, revision, total_documents, listed_time,
    start_time, deadline_time, max_age_s, batch_id)
SELECT gen_random_uuid(), %(client)s, lpad(number::text, 7, '0') || '-22.2025.8.26.0564',
    'PROCESSING', %(documents)s, %(documents)s, now(), now(), now() + interval '1 day', 0,
    md5((number %% (%(jobs)s / 10))::text)::uuid
FROM generate_series(1, %(jobs)s) AS number
"""
_DOCUMENTS = """
INSERT INTO documents (job_id, document_id, position, name, kind, sequence, instance,
    filed_local_time, secrecy_level, origin_id, hrefs, state, revision)
SELECT job_id, gen_random_uuid(), number - 1, 'name', 'kind', 1, '1', '', 'PUBLICO', number, '{a}',
    'PENDING', number
FROM jobs CROSS JOIN generate_series(1, %(documents)s) AS number
WHERE process_number LIKE '%%0-22.2025.8.26.0564'
"""
# In each case a few documents are being requested, and a few lie in a host's spool.
_LANES = """
UPDATE documents SET state = 'DOWNLOADING', lease = gen_random_uuid(), slice = gen_random_uuid(),
    slice_size = 1, spool_id = gen_random_uuid(), lease_until = now() + interval '1 hour'
WHERE position BETWEEN 0 AND 2
"""
_SPOOLED = """
UPDATE documents SET state = 'DOWNLOADED', lease = gen_random_uuid(),
    spool_id = md5((hashtext(job_id::text) %% 10)::text)::uuid,
    sha256 = repeat('0', 64), size_bytes = 1, content_type = 'application/pdf', extension = 'pdf'
WHERE position BETWEEN 3 AND 4
"""
_WEBHOOKS = """
WITH ends AS (
    INSERT INTO events (event_id, client, job_id, run, type, event_time, job, documents)
    SELECT gen_random_uuid(), client, job_id, 1, 'download.failed', now(), to_jsonb(jobs), '[]'
    FROM jobs
    RETURNING event_id, job_id)
INSERT INTO webhooks (job_id, position, client, url, receiver, state, event_id, webhook_id,
    next_attempt_time)
SELECT job_id, 0, %(client)s, %(receiver)s, %(receiver)s, 'PENDING', event_id, event_id::text, now()
FROM ends
"""
_REQUESTS = """
INSERT INTO requests (client, request_id, payload_sha256, job_id)
SELECT client, gen_random_uuid(), repeat('0', 64), job_id FROM jobs
"""
# Every job has one label; one in fifty has the other.
_LABELS = """
INSERT INTO job_labels (job_id, key, value, client, create_time)
SELECT job_id, 'all', 'x', client, create_time FROM jobs
UNION ALL SELECT job_id, 'few', 'x', client, create_time FROM jobs
WHERE abs(hashtext(job_id::text)) %% 50 = 0
"""
# Some batches made ten jobs, the others none.
_BATCHES = """
INSERT INTO batches (batch_id, client, refused)
SELECT DISTINCT batch_id, client, 0 FROM jobs
UNION ALL SELECT gen_random_uuid(), client, 0 FROM jobs
"""
_BATCH_ITEMS = """
INSERT INTO batch_items (batch_id, place, job_id, is_new)
SELECT batch_id, row_number() OVER (PARTITION BY batch_id), job_id, true FROM jobs
"""
_SWEPT = """
INSERT INTO swept_objects (object_key, sweep_time)
SELECT 'documents/' || number, now() FROM generate_series(1, %(jobs)s) AS number
"""
_SILENT = """
INSERT INTO silent_receivers (client, receiver)
SELECT %(client)s, number::text FROM generate_series(1, %(jobs)s) AS number
"""
_SECRECY = """
INSERT INTO case_secrecy (process_number, sealed_time)
SELECT process_number, now() FROM jobs
"""
_CASES = """
INSERT INTO requested_cases (case_hmac, court, request_time)
SELECT sha256(convert_to(number::text, 'UTF8')), '8.' || lpad((number %% 27)::text, 2, '0'),
    now() - number * interval '10 minutes'
FROM generate_series(1, %(jobs)s) AS number
"""

# Every case is watched, and none is due.
_SUBSCRIPTIONS = """
INSERT INTO subscriptions (client, process_number, interval_s, next_time)
SELECT client, process_number, 86400, now() + random() * interval '1 day' + interval '1 hour'
FROM jobs
"""
# No test event is being sent.
_TESTS = """
INSERT INTO webhook_tests (test_id, client, url, receiver)
SELECT gen_random_uuid(), %(client)s, 'https://r/1', %(receiver)s FROM generate_series(1, 20000)
"""


def create(server_url: str, name: str) -> str:
    """Make a database `name` with large, analyzed tables. Return its URL.

    All jobs belong to CLIENT, and their webhooks go to one receiver.
    """
    return create_database(server_url, name, template=_filled(server_url))


@cache
def _filled(server_url: str) -> str:
    """Return the name of a database with filled tables, made once for each server."""
    name = "large_tables"
    url = create_database(server_url, name, template=TEMPLATE)
    values = {"client": CLIENT, "jobs": JOBS, "documents": DOCUMENTS, "receiver": _RECEIVER}
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for statement in (
            _JOBS,
            _DOCUMENTS,
            _LANES,
            _SPOOLED,
            _SILENT,
            _WEBHOOKS,
            _REQUESTS,
            _LABELS,
            _BATCHES,
            _BATCH_ITEMS,
            _SWEPT,
            _SECRECY,
            _CASES,
            _SUBSCRIPTIONS,
            _TESTS,
        ):
            cursor.execute(statement, values)
        cursor.execute("VACUUM (ANALYZE)")
    return name
