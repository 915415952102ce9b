"""What is taken out, and which tests must notice.

`old` stands in `file` exactly once; `tests` are the few that are worth running, so that the whole
stays quick. A safeguard that is moved or reworded has to be found again here.
"""

from __future__ import annotations

from dataclasses import dataclass

CLAIMS = "tests/integration/test_claims.py"
JOBS = "tests/integration/test_jobs.py"
REPAIRS = "tests/integration/test_repairs.py"
CONSTRAINTS = "tests/integration/test_constraints.py"
POSTER = "tests/integration/test_webhook_poster.py"
HOOKS = "tests/integration/test_webhook_rows.py"
OBJECTS = "tests/integration/test_objects.py"
SPOOL = "tests/integration/test_spool.py"
DATABASE = "tests/integration/test_database.py"
BROKER = "tests/integration/test_broker.py"
KEEPER = "tests/integration/test_keeper.py"
POOLER = "tests/integration/test_pooler.py"
MIGRATE = "tests/integration/test_migrate.py"
ADOPTIONS = "tests/integration/test_adoption.py"
SWEEPS = "tests/integration/test_sweeps.py"
PORTAL = "tests/integration/test_portal.py"
SLOTS = "tests/integration/test_slots.py"
TURNS = "tests/integration/test_turns.py"
PAUSES = "tests/integration/test_pauses.py"
COURTS = "tests/integration/test_courts.py"
RERUNS = "tests/integration/test_reruns.py"
LISTING = "tests/integration/test_listing.py"
STARTING = "tests/integration/test_starting.py"
STARTS = "tests/integration/test_starts.py"
BATCHES = "tests/integration/test_batches.py"
RECORD = "tests/integration/test_record.py"
STORING = "tests/integration/test_storing.py"
TALLIES = "tests/integration/test_tallies.py"
TOKENS = "tests/integration/test_tokens.py"
CALLERS = "tests/integration/test_callers.py"
LIMITS = "tests/integration/test_limits.py"
TLS = "tests/integration/test_tls.py"
CONTENTS = "tests/unit/test_contents.py"
CONNECTIONS = "tests/unit/test_http_connections.py"
ANSWERS = "tests/integration/test_answers_to_requests.py"
INTERIM = "tests/integration/test_interim_answers.py"
QUESTIONS = "tests/unit/test_batched_questions.py"
SCHEMA = "storage/migrations/0001_tables.sql"


@dataclass(frozen=True)
class Mutant:
    """One safeguard and its absence. `without`: what is taken out, for people."""

    without: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _mutant(without: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(without, file, old, new, tests)


_LEASES = (
    _mutant(
        "the lease check of a listing",
        "storage/listing_claims.py",
        "AND (listing_lease_until IS NULL OR listing_lease_until < clock_timestamp())",
        "",
        JOBS,
    ),
    _mutant(
        "the lease check of an upload",
        "storage/sql/take_uploads.sql",
        "documents.lease = woken.lease AND documents.state = 'DOWNLOADED'\n"
        "                AND (lease_until IS NULL OR lease_until < clock_timestamp())",
        "documents.lease = woken.lease AND documents.state = 'DOWNLOADED'\n",
        CLAIMS,
    ),
    _mutant(
        "the lease check of a webhook",
        "storage/webhooks.py",
        "_IS_DUE = (_IS_PENDING, _IS_TIME, _IS_FREE)",
        "_IS_DUE = (_IS_PENDING, _IS_TIME)",
        HOOKS,
    ),
    _mutant(
        "the check that a claim is abandoned before it is taken back",
        "storage/claims.py",
        'f" WHERE lease = %(lease)s AND {ABANDONED[state]} FOR UPDATE"',
        'f" WHERE lease = %(lease)s FOR UPDATE"',
        CLAIMS,
        REPAIRS,
    ),
    _mutant(
        "the fencing token of a document",
        "storage/claims.py",
        ' AND document_id = %(document_id)s AND lease = %(lease)s"\n        f" AND state IN (',
        ' AND document_id = %(document_id)s"\n        f" AND state IN (',
        CLAIMS,
    ),
    _mutant(
        "the fencing token of a listing",
        "storage/listing_claims.py",
        '"SELECT * FROM jobs WHERE job_id = %(job_id)s AND listing_lease = %(lease)s FOR UPDATE"',
        '"SELECT * FROM jobs WHERE job_id = %(job_id)s FOR UPDATE"',
        JOBS,
    ),
    _mutant(
        "the fencing token of a webhook",
        "storage/webhooks.py",
        "        Webhook.lease == delivery.lease,\n",
        "",
        HOOKS,
    ),
    _mutant(
        "the renewal of leases",
        "storage/sql/renew_leases.sql",
        "AND lease_until IS NOT NULL FOR UPDATE SKIP LOCKED)",
        "AND lease_until IS NOT NULL AND false FOR UPDATE SKIP LOCKED)",
        CLAIMS,
    ),
    _mutant(
        "the stop of work that has lost its lease",
        "actors/keeper.py",
        "                _tell(held.on_lost)\n",
        "",
        KEEPER,
    ),
    _mutant(
        "the stop of work that cannot renew its lease",
        "actors/keeper.py",
        "lost = set(self._held) if is_over else set()",
        "lost: set[UUID] = set()",
        KEEPER,
    ),
)

_CLOCK = (
    _mutant(
        "the clock's repair of a lost worker",
        "storage/claims.py",
        '    " AND lease_until < clock_timestamp()",',
        '    " AND false",',
        REPAIRS,
    ),
    _mutant(
        "the clock's repair of a dead spool",
        "storage/claims.py",
        "f\" clock_timestamp() - {SPOOL_DEAD_S} * interval '1 second')\",",
        "f\" clock_timestamp() - {SPOOL_DEAD_S} * interval '1 second') AND false\",",
        REPAIRS,
    ),
    _mutant(
        "the clock's repair of a job never started",
        "actors/clock.py",
        "            if job.needs_listing and lanes:\n",
        "            if False and job.needs_listing and lanes:\n",
        REPAIRS,
    ),
    _mutant(
        "the clock's repair of lost lanes",
        "actors/clock.py",
        "            elif lanes:\n",
        "            elif False and lanes:\n",
        REPAIRS,
    ),
    _mutant(
        "the clock's repair of an idle upload",
        "actors/clock.py",
        "self.messages.upload(spool_id, job.job_id, document_id, lease)",
        "del spool_id, document_id, lease",
        REPAIRS,
    ),
    _mutant(
        "the clock's look for due webhooks",
        "actors/clock.py",
        "self.messages.send_webhooks(job_id, [position])",
        "del job_id, position",
        REPAIRS,
    ),
    _mutant(
        "the clock's notice of a lost Redis",
        "actors/clock.py",
        "is_redis_lost = not self.redis.set(SENTINEL, 1, xx=True)",
        "is_redis_lost = bool(self.redis.set(SENTINEL, 1, xx=True)) and False",
        REPAIRS,
    ),
    _mutant(
        "the end of a job whose time is over",
        "actors/clock.py",
        "*repairs.time_out(self.database), ",
        "",
        REPAIRS,
    ),
    _mutant(
        "the end of a job with nothing left to do",
        "actors/clock.py",
        ", *repairs.finish_idle(self.database)]",
        "]",
        REPAIRS,
    ),
    _mutant(
        "the retirement of a dead spool's queue",
        "actors/clock.py",
        "(self._reclaim, self._end, self._mend, self._tell, self._retire)",
        "(self._reclaim, self._end, self._mend, self._tell)",
        REPAIRS,
    ),
    _mutant(
        "the sweep of objects that no row names",
        "storage/sweeps.py",
        "        objects.delete(keys)\n",
        "        pass\n",
        SWEEPS,
    ),
    _mutant(
        "the look, at the beginning of a sweep, whether the bucket is this installation's",
        "storage/sweeps.py",
        "        return Swept(trouble=trouble)\n",
        "        pass\n",
        ADOPTIONS,
    ),
    _mutant(
        "the same look before each deletion",
        "storage/sweeps.py",
        "            return deleted, trouble\n",
        "            pass\n",
        SWEEPS,
    ),
    _mutant(
        "that an object is named by an earlier sweep than the one that deletes it",
        "storage/sweeps.py",
        "            SweepCandidate.find_time < begin - timedelta(seconds=rest_s),\n",
        "",
        SWEEPS,
    ),
    _mutant(
        "that what has a row now was never named",
        "storage/sweeps.py",
        "SweepCandidate.delete().where(SweepCandidate.see_time < begin)",
        "SweepCandidate.delete().where(SweepCandidate.see_time.is_null())",
        SWEEPS,
    ),
    _mutant(
        "the limit to what a sweep deletes",
        "storage/sweeps.py",
        '    if look.unnamed <= most:\n        return ""\n',
        '    if look.unnamed >= 0:\n        return ""\n',
        SWEEPS,
    ),
    _mutant(
        "that what an operator allows is allowed once",
        "storage/sweeps.py",
        "Installation.update(sweep_allowance=0)",
        "Installation.update(sweep_allowance=Installation.sweep_allowance)",
        SWEEPS,
    ),
    _mutant(
        "that what was there at an adoption stays",
        "storage/sweeps.py",
        "found.stored_time > row.adopt_time",
        "True",
        ADOPTIONS,
    ),
    _mutant(
        "that a note outlives a document which is under way",
        "storage/sweeps.py",
        'fn.strpos(SweptObject.object_key, fn.CONCAT("/", Document.document_id, "/")) > 0',
        "(Document.document_id.is_null())",
        SWEEPS,
    ),
    _mutant(
        "that a restored database is noticed",
        "storage/installation.py",
        "number > row.beat",
        "False",
        ADOPTIONS,
    ),
    _mutant(
        "that the first mark of a bucket stays",
        "storage/adoption.py",
        ", is_new=True)",
        ")",
        ADOPTIONS,
    ),
    _mutant(
        "the refusal of a bucket that belongs to another installation",
        "storage/adoption.py",
        "    if found != str(ours):\n",
        "    if not found:\n",
        ADOPTIONS,
    ),
    _mutant(
        "the refusal of a bucket with documents that no row names",
        "storage/adoption.py",
        "if found.there and (not found.named or found.unnamed > limit(found.there)):",
        "if found.there < 0:",
        ADOPTIONS,
    ),
    _mutant(
        "that a spool of another installation is not swept",
        "actors/heartbeat.py",
        "self._spool.owner() == str(row.installation_id)\n        # A",
        "True\n        # A",
        SWEEPS,
    ),
    _mutant(
        "that no spool is swept while the database may have been restored",
        "actors/heartbeat.py",
        " and not row.bucket_trouble",
        "",
        SWEEPS,
    ),
    _mutant(
        "that a spool file is seen twice before it goes",
        "actors/heartbeat.py",
        "unowned & suspects",
        "unowned",
        SWEEPS,
    ),
    _mutant(
        "that a folder with files which no row names is not taken for a spool",
        "actors/heartbeat.py",
        "                return UNKNOWN\n",
        "                pass\n",
        SWEEPS,
    ),
    _mutant(
        "that a clock watches a silent spool before it drops its queue",
        "actors/clock.py",
        "since == now or now - since < self.retire_after_s",
        "False",
        REPAIRS,
    ),
    _mutant(
        "that a spool is still dead when its queue is dropped",
        "storage/repairs.py",
        ".where(is_it, _IS_DEAD).for_update()",
        ".where(is_it).for_update()",
        REPAIRS,
    ),
    _mutant(
        "the sweep of spool files without an owner",
        "actors/heartbeat.py",
        "            old[lease].unlink(missing_ok=True)\n",
        "",
        SWEEPS,
    ),
    _mutant(
        "the second look before a spool file is swept",
        "actors/heartbeat.py",
        "            unowned = repairs.unowned(self._database, list(old))\n",
        "            unowned = set(old)\n",
        SWEEPS,
    ),
    _mutant(
        "the patience of the clock after an outage",
        "actors/clock.py",
        "self._patient_until = time.monotonic() + self.asking.lease_s / 2",
        "self._patient_until = 0.0",
        REPAIRS,
    ),
    _mutant(
        "the growing intervals between two messages for one row",
        "storage/repairs.py",
        "{NUDGE_BASE_S} * power(2, least(nudge_count, 10))) * interval '1 second'",
        "{NUDGE_BASE_S}) * interval '1 second'",
        REPAIRS,
    ),
)

_ONCE = (
    _mutant(
        "the wait for another job's listing of the case",
        "storage/listing_claims.py",
        "AND NOT {IS_ASKED_FOR_ANOTHER}",
        "",
        LISTING,
    ),
    _mutant(
        "the lock between two claims on the listings of a case",
        "storage/listing_claims.py",
        'if not (lock and lock["is_ours"]):',
        "if not lock:",
        LISTING,
    ),
    _mutant(
        "the second look for an answer under that lock",
        "storage/listing_claims.py",
        "return free is not None, reuse.source_of(transaction, job_id)",
        "return free is not None, None",
        LISTING,
    ),
    _mutant(
        "the refusal of an answer that is older than the question",
        "storage/reuse.py",
        "newest.listed_time >= coalesce(jobs.rerun_time, jobs.create_time)",
        "newest.listed_time >= jobs.create_time",
        LISTING,
    ),
    _mutant(
        "the second question about a listing that lacks documents",
        "actors/listing.py",
        "if missing and not claim.is_doubted and listing.doubt_time is None:",
        "if False and missing:",
        LISTING,
    ),
    _mutant(
        "the ids of its own for every client that shares a listing",
        "storage/listings/listing_import.py",
        '            if row["origin_id"]\n',
        '            if row["origin_id"] is False\n',
        LISTING,
    ),
    _mutant(
        "the unique index of running jobs",
        SCHEMA,
        "CREATE UNIQUE INDEX jobs_active ON jobs",
        "CREATE INDEX jobs_active ON jobs",
        JOBS,
        CONSTRAINTS,
    ),
    _mutant(
        "the unique key of requests",
        SCHEMA,
        "    PRIMARY KEY (client, request_id),\n",
        "",
        JOBS,
    ),
    _mutant(
        "the unique end of a run",
        SCHEMA,
        "CREATE UNIQUE INDEX events_run",
        "CREATE INDEX events_run",
        CONSTRAINTS,
    ),
    _mutant(
        "the state check of an end",
        "storage/sql/end_job.sql",
        "WHERE job_id = _job_id AND end_time IS NULL INTO job",
        "WHERE job_id = _job_id INTO job",
        CLAIMS,
        REPAIRS,
    ),
    _mutant(
        "the check whether a cancelled job has ended",
        "storage/jobs/__init__.py",
        '        if job["end_time"] is None:\n            close_rest',
        "        if True:\n            close_rest",
        CLAIMS,
    ),
    _mutant(
        "the payload's hash under a request_id",
        "storage/sql/start_jobs.sql",
        "CASE WHEN known.payload_sha256 = asked.payload_sha256",
        "CASE WHEN true",
        JOBS,
    ),
    _mutant(
        "the job's lock before its documents",
        "storage/tasks.py",
        'AND end_time IS NULL FOR UPDATE"\n        + ("" if waits else " SKIP LOCKED")',
        'AND end_time IS NULL"\n        + ("" if waits else "")',
        SLOTS,
    ),
    _mutant(
        "the job's lock before the documents that are claimed together",
        "storage/steps.py",
        "            FOR UPDATE SKIP LOCKED INTO job;",
        "            INTO job;",
        SLOTS,
    ),
    _mutant(
        "the job's lock of who joins it",
        "storage/sql/start_jobs.sql",
        "AND state IN ('PENDING', 'PROCESSING') FOR UPDATE INTO job;",
        "AND state IN ('PENDING', 'PROCESSING') INTO job;",
        JOBS,
    ),
    _mutant(
        "SKIP LOCKED of the renewal",
        "storage/sql/renew_leases.sql",
        "AND lease_until IS NOT NULL FOR UPDATE SKIP LOCKED)",
        "AND lease_until IS NOT NULL FOR UPDATE)",
        CLAIMS,
    ),
    _mutant(
        "SKIP LOCKED of the clock",
        "storage/repairs.py",
        "    ORDER BY nudge_time NULLS FIRST LIMIT {BATCH} FOR UPDATE SKIP LOCKED",
        "    ORDER BY nudge_time NULLS FIRST LIMIT {BATCH} FOR UPDATE",
        REPAIRS,
    ),
    _mutant(
        "the number of lanes",
        "storage/steps.py",
        "%(lanes)s - ({TAKEN_LANES})",
        "1000 + %(lanes)s - ({TAKEN_LANES})",
        CLAIMS,
    ),
    _mutant(
        "not_before of a document",
        "storage/steps.py",
        "        AND not_before <= statement_timestamp()\n",
        "        AND not_before IS NOT NULL\n",
        CLAIMS,
    ),
    _mutant(
        "the advisory lock of migrations",
        "storage/migrate.py",
        '        db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))\n',
        "",
        MIGRATE,
    ),
    _mutant(
        "the refusal of a database of the first edition",
        "storage/migrate.py",
        "        _refuse_first_edition(runner)\n",
        "",
        MIGRATE,
    ),
    _mutant(
        "that the lock of migrations ends with its transaction",
        "storage/migrate.py",
        "SELECT pg_advisory_xact_lock(%s)",
        "SELECT pg_advisory_lock(%s)",
        POOLER,
    ),
    _mutant(
        "the settings of PostgreSQL's sessions",
        "storage/migrate.py",
        "        session_settings.install(db)\n",
        "",
        POOLER,
    ),
    _mutant(
        "that no plan of a hot function is compiled",
        "storage/functions.py",
        '" SET jit = off"',
        '""',
        POOLER,
    ),
    _mutant(
        "that the URL's own parameters of a connection win",
        "storage/database.py",
        "CONNECTION | psycopg2.extensions.parse_dsn(url)",
        "psycopg2.extensions.parse_dsn(url) | CONNECTION",
        "tests/integration/test_session_settings.py",
    ),
    _mutant(
        "the count of lost workers",
        "storage/claims.py",
        "lost_lease_count = lost_lease_count + %(lost)s,",
        "lost_lease_count = lost_lease_count + 0 * %(lost)s,",
        CLAIMS,
    ),
    _mutant(
        "the announcement only after the commit",
        "storage/database.py",
        "            yield transaction\n        self._tell(transaction)\n\n    @context",
        "            yield transaction\n            self._tell(transaction)\n\n    @context",
        CLAIMS,
    ),
)

_BYTES = (
    _mutant(
        "the check of the listed size",
        "actors/contents.py",
        '        self._check_size("listed", self._listed_size_bytes)\n',
        "",
        CONTENTS,
    ),
    _mutant(
        "the check of the announced size",
        "actors/contents.py",
        '        self._check_size("announced", self._declared_length)\n',
        "",
        CONTENTS,
    ),
    _mutant(
        "the check of a PDF's trailer",
        "actors/contents.py",
        "        if mime == PDF and not is_ended:",
        "        if False:",
        CONTENTS,
    ),
    _mutant(
        "the check for the page shell",
        "actors/impostors.py",
        "    if _SHELL.search(head) or (is_small and _SHELL_WORDS.search(head)):",
        "    if False:",
        CONTENTS,
    ),
    _mutant(
        "the check for a JSON message",
        "actors/impostors.py",
        "(_is_json_type(header_type) or _is_json(head, is_whole))",
        "False",
        CONTENTS,
    ),
    _mutant(
        "the limit of a document's size",
        "actors/contents.py",
        "    if size_bytes > max_bytes:",
        "    if False:",
        CONTENTS,
    ),
    _mutant(
        "the trust in links of the case only",
        "actors/portal.py",
        "path = trusted_href(href, process_number)",
        "path = trusted_href(href, process_number) or href",
        PORTAL,
    ),
    _mutant(
        "the hash in an object's key",
        "storage/objects.py",
        "{sha256[:16]}.{extension}",
        "document.{extension}",
        OBJECTS,
    ),
    _mutant(
        "the checksum that the store compares",
        "storage/objects.py",
        '            "x-amz-checksum-sha256": base64.b64encode('
        "bytes.fromhex(upload.sha256)).decode(),\n",
        "",
        OBJECTS,
    ),
    _mutant(
        "that an upload ends when nobody wants it any more",
        "storage/objects.py",
        "if not self._is_wanted():",
        "if False:",
        OBJECTS,
    ),
    _mutant(
        "the note of what was swept",
        "storage/sql/record_stored.sql",
        "AND sweep_time >= given.take_time)",
        "AND sweep_time >= given.take_time AND false)",
        SWEEPS,
    ),
    _mutant(
        "the lock between a sweep and what is being stored",
        "storage/sql/lock_objects.sql",
        "SELECT pg_advisory_xact_lock(hashtextextended(key, 0))",
        "SELECT key",
        SWEEPS,
    ),
    _mutant(
        "the look whether a reused object is still there",
        "storage/reuse.py",
        "if s.object_key in there",
        "",
        JOBS,
    ),
    _mutant(
        "the look, before a retry, for what another job has stored",
        "storage/reruns.py",
        "return [key for key in sizes if in_bucket[key]]",
        "return []",
        RERUNS,
    ),
    _mutant(
        "the second look, under the lock, for what was stored meanwhile",
        "storage/reruns.py",
        """    if unknown:
        raise _NotLookedUp(unknown)
    return [key for key in sizes if in_bucket[key]]
""",
        """    if unknown and not in_bucket:
        raise _NotLookedUp(unknown)
    return [key for key in sizes if in_bucket.get(key)]
""",
        RERUNS,
    ),
    _mutant(
        "the size check of a reused document",
        "storage/reuse.py",
        '        if listed[row["document_id"]] in (None, row["size_bytes"])\n',
        "",
        JOBS,
    ),
    _mutant(
        "the room that is reserved in the spool",
        "storage/spool.py",
        "            if self._lack(room_bytes - os.fstat(descriptor).st_size):",
        "            if False:",
        SPOOL,
    ),
)

_TOLD = (
    _mutant(
        "the body in a webhook's signature",
        "actors/signature.py",
        'f"{message_id}.{timestamp}.".encode() + body',
        'f"{message_id}.{timestamp}.".encode()',
        "tests/unit/test_signature.py",
    ),
    _mutant(
        "the signature of a webhook",
        "actors/delivery.py",
        '"webhook-signature": sign(self.secrets, delivery.webhook_id, now, body),',
        '"webhook-signature": "v1,",',
        "tests/acceptance/test_main_job.py",
    ),
    _mutant(
        "the pinning of a webhook's address",
        "actors/receiver.py",
        'return {**host, "host": self._address}, {**pool, **tls}',
        "return host, {**pool, **tls}",
        POSTER,
    ),
    _mutant(
        "the check of a webhook's addresses",
        "actors/receiver.py",
        "if not all(self._receivers.may_connect(host, port, ip_address(a)) for a in addresses):",
        "if False:",
        POSTER,
    ),
    _mutant(
        "the check of a webhook's URL at every attempt",
        "actors/receiver.py",
        "            checked = self._receivers.check(url)\n",
        "            checked = url\n",
        POSTER,
    ),
    _mutant(
        "the counting only after the commit",
        "storage/database.py",
        "        if self._on_count:\n            for (series",
        "        if self._on_count:\n            pass\n        if False:\n            for (series",
        TALLIES,
    ),
    _mutant(
        "the limit of deliveries for one receiver",
        "storage/webhooks.py",
        'return held if busy["count"] < PER_RECEIVER else None',
        "return held",
        HOOKS,
    ),
    _mutant(
        "the end of the webhook schedule",
        "storage/webhooks.py",
        "    if attempts_made > len(SCHEDULE_S):\n        return None\n",
        "    attempts_made = min(attempts_made, len(SCHEDULE_S))\n",
        "tests/unit/test_retries.py",
    ),
    _mutant(
        "the webhook-id that stays when the end is told again",
        "storage/webhooks.py",
        "        earlier_attempt_count=Webhook.attempt_count,\n",
        "        earlier_attempt_count=Webhook.attempt_count,\n"
        "        webhook_id=fn.CONCAT('msg_', fn.gen_random_uuid()),\n",
        HOOKS,
        "tests/acceptance/test_retry.py",
    ),
    _mutant(
        "the fingerprint of a page token",
        "server/page_tokens.py",
        " or parts[0] != made_for",
        "",
        "tests/unit/test_page_tokens.py",
    ),
    _mutant(
        "the filter of what a watcher knows already",
        "storage/sql/changed_documents.sql",
        "    AND revision > after_revision AND revision <= up_to_revision\n",
        "    AND after_revision IS NOT NULL AND revision <= up_to_revision\n",
        CLAIMS,
    ),
    _mutant(
        "that only a claim that holds records that its file was fetched",
        "storage/sql/record_fetched.sql",
        "AND document.state = 'DOWNLOADING'\n",
        "AND document.state <> 'AVAILABLE'\n",
        CLAIMS,
    ),
    _mutant(
        "the document of a claim's token",
        "storage/sql/record_stored.sql",
        "WHERE document.job_id = given.job_id AND document.document_id = given.document_id",
        "WHERE document.job_id = given.job_id",
        RECORD,
    ),
    _mutant(
        "that the last document of a job ends it",
        "storage/sql/record_stored.sql",
        "            jobs_over := jobs_over || job_id;\n",
        "            CONTINUE;\n",
        CLAIMS,
    ),
    _mutant(
        "that a job held by another transaction keeps no other file waiting",
        "storage/sql/lock_jobs.sql",
        "FOR UPDATE SKIP LOCKED) AS job",
        "FOR UPDATE) AS job",
        RECORD,
    ),
    _mutant(
        "the lock between what is stored and a sweep",
        "storage/sql/record_stored.sql",
        "            WHERE pg_try_advisory_xact_lock_shared(hashtextextended(key, 0)));",
        "            WHERE true);",
        RECORD,
    ),
    _mutant(
        "that a file whose job is held is recorded later",
        "storage/sql/record_stored.sql",
        "THEN 'BUSY' ELSE 'LOST' END",
        "THEN 'LOST' ELSE 'LOST' END",
        RECORD,
    ),
    _mutant(
        "the court's failures that are younger than the request",
        "storage/sql/portal_answered.sql",
        "AND taken_time >= failing_since)",
        ")",
        COURTS,
    ),
    _mutant(
        "that only a file which waits is taken for its upload",
        "storage/sql/take_uploads.sql",
        "documents.lease = woken.lease AND documents.state = 'DOWNLOADED'\n",
        "documents.lease = woken.lease\n",
        CLAIMS,
    ),
    _mutant(
        "the revision of its own for every change",
        "storage/steps.py",
        "revision = %(revision)s + number,",
        "revision = %(revision)s,",
        CLAIMS,
    ),
    _mutant(
        "the short life of a sealed document's URL",
        "server/service.py",
        "requests.url_lifetime_s(request, is_sealed=sealed)",
        "requests.url_lifetime_s(request, is_sealed=False and sealed)",
        "tests/acceptance/test_document_url.py",
    ),
)

_GUEST = (
    _mutant(
        "the number of slots of the portal",
        "storage/turns.py",
        "WHERE room > 0\n",
        "WHERE room > -99\n",
        SLOTS,
        PAUSES,
    ),
    _mutant(
        "the number of slots under the lock",
        "storage/slots.py",
        " AND {FREE}\n    ORDER BY number",
        "\n    ORDER BY number",
        SLOTS,
    ),
    _mutant(
        "the slice of the portal's time that a job has in one turn",
        "storage/steps.py",
        "floor({SLICE_S} / greatest(",
        "floor(1000 * {SLICE_S} / greatest(",
        TURNS,
    ),
    _mutant(
        "what a job pays for all that it got in one turn",
        "storage/steps.py",
        '"(claimed * chosen.cost_s)"',
        '"chosen.cost_s"',
        TURNS,
    ),
    _mutant(
        "one job of a case at a time at the portal, in the step",
        "storage/steps.py",
        "IF NOT is_ours OR EXISTS ({_SERVED}) THEN",
        "IF NOT is_ours THEN",
        LISTING,
    ),
    _mutant(
        "the recent listing that a new job may begin with",
        "storage/sql/start_jobs.sql",
        "IF asked.may_look AND asked.max_age_s > 0 THEN",
        "IF false THEN",
        STARTS,
    ),
    _mutant(
        "the seal that is checked where a recent listing is copied",
        "storage/sql/start_jobs.sql",
        "IF listing IS NOT NULL AND autos_case_is_sealed(asked.process_number) AND EXISTS (",
        "IF listing IS NOT NULL AND false AND EXISTS (",
        STARTS,
    ),
    _mutant(
        "the seal that is checked where a listing is recorded",
        "storage/sql/record_listing.sql",
        "IF autos_case_is_sealed(job.process_number) AND EXISTS (",
        "IF false AND EXISTS (",
        "tests/integration/test_recorded_listings.py",
    ),
    _mutant(
        "the case that others start, which holds up no other",
        "storage/sql/start_jobs.sql",
        "FOR UPDATE SKIP LOCKED INTO job;",
        "FOR UPDATE INTO job;",
        STARTS,
    ),
    _mutant(
        "the seats that one batch of a client draws at a time",
        "storage/sql/start_jobs.sql",
        "busy_clients := busy_clients || limited;",
        "NULL;",
        STARTS,
    ),
    _mutant(
        "the request_id of a call that starts together with others",
        "storage/sql/start_jobs.sql",
        "WHERE client = asked.client AND request_id = asked.request_id INTO known;",
        "WHERE client = asked.client AND request_id = asked.request_id AND false INTO known;",
        STARTS,
    ),
    _mutant(
        "the callers who are gone before their jobs are begun",
        "server/starting.py",
        "asked = [start for start in asked if not start.is_gone]",
        "asked = list(asked)",
        LIMITS,
    ),
    _mutant(
        "a file that cannot be recorded with others",
        "actors/upload.py",
        "            if turn.put and not turn.put.is_recorded:\n"
        "                self.storer.record(turn.put)\n",
        "            pass\n",
        BATCHES,
    ),
    _mutant(
        "a file that whoever fetched it cannot record with others",
        "actors/asker.py",
        "        elif self.storer and isinstance(turn.done, Put) and not turn.done.is_recorded:\n"
        "            self.storer.record(turn.done)\n",
        "",
        STORING,
    ),
    _mutant(
        "the spool for what cannot be put from memory",
        "actors/storing.py",
        "                self.spool.keep(file.lease, data)\n",
        "                pass\n",
        STORING,
    ),
    _mutant(
        "the way by the spool while the bucket is away or slow",
        "actors/storing.py",
        "        return slow * 2 < self.threads\n",
        "        return True\n",
        STORING,
    ),
    _mutant(
        "the limit to how long a bucket may be silent while a slot is held",
        "actors/storing.py",
        "return self._send(file, data, HURRY_S)",
        "return self._send(file, data, 20.0)",
        STORING,
    ),
    _mutant(
        "the pause for a bucket that was away",
        "actors/storing.py",
        "if traffic.failures and (now < traffic.away_until or traffic.begun):",
        "if False:",
        STORING,
    ),
    _mutant(
        "that what is to be put does not wait for what is asked",
        "actors/asker.py",
        "        if to_put:\n",
        "        if False:\n",
        STORING,
    ),
    _mutant(
        "the wake-up for slots of a file that is to be put",
        "actors/asker.py",
        "                free[0].wakes = to_put[free[0]].file.job_id\n",
        "                pass\n",
        STORING,
    ),
    _mutant(
        "the spool of a file whose record was lost",
        "storage/sql/record_fetched.sql",
        "SET spool_id = coalesce(_spool_id, documents.spool_id),",
        "SET spool_id = documents.spool_id,",
        STORING,
    ),
    _mutant(
        "that interim answers are passed over",
        "storage/http/responses.py",
        "            if not 100 <= status < 200 or status == ",
        "            if True or status == ",
        INTERIM,
    ),
    _mutant(
        "the limit to interim answers",
        "storage/http/responses.py",
        "        for _ in range(INTERIM_MAX):\n",
        "        while True:\n",
        CONNECTIONS,
    ),
    _mutant(
        "that interim answers of the bucket are passed over by the client",
        "proto/caller/final_answers.py",
        "            if not 100 <= status < 200 or status == ",
        "            if True or status == ",
        "tests/unit/test_pulling.py",
    ),
    _mutant(
        "the look at a connection before it is used again",
        "storage/http/connections.py",
        "byte_at_hand(self.sock) is not None:",
        "byte_at_hand(self.sock) == b'':",
        CONNECTIONS,
    ),
    _mutant(
        "the look for bytes before the first request",
        "storage/http/connections.py",
        "if not self._answers and byte_at_hand(",
        "if self._answers and byte_at_hand(",
        CONNECTIONS,
    ),
    _mutant(
        "the look behind an answer",
        "storage/http/responses.py",
        "            and not bytes_at_hand(self.fp, self._socket)\n",
        "",
        CONNECTIONS,
    ),
    _mutant(
        "the framing that a connection needs to be kept",
        "storage/http/responses.py",
        "        self._is_plain = self._has_plain_framing()\n",
        "        self._is_plain = True\n",
        CONNECTIONS,
    ),
    _mutant(
        "that only a connection in order returns to its pool",
        "storage/http/connections.py",
        "        if conn is not None and not conn.is_reusable:\n",
        "        if False:\n",
        CONNECTIONS,
    ),
    _mutant(
        "the connection of its own for a file of which no size is listed",
        "actors/portal.py",
        "is_fresh=not expected.listed_size_bytes",
        "is_fresh=False",
        ANSWERS,
    ),
    _mutant(
        "the free repetition when a kept connection closes in the moment of use",
        "actors/portal_session.py",
        "            if not is_kept_connection_closed(error):\n",
        "            if True:\n",
        ANSWERS,
    ),
    _mutant(
        "that a request whose answer had begun is not repeated",
        "storage/http/responses.py",
        "        if not first:\n",
        "        if len(first) < 1_000:\n",
        CONNECTIONS,
    ),
    _mutant(
        "that a store may not ask for hours",
        "storage/objects.py",
        "                respect_retry_after_header=False,\n",
        "",
        "tests/integration/test_objects.py",
    ),
    _mutant(
        "that what is in memory lies in no spool",
        "storage/sql/record_fetched.sql",
        "THEN nowhere ELSE documents.spool_id END",
        "THEN documents.spool_id ELSE documents.spool_id END",
        STORING,
    ),
    _mutant(
        "the slots of a file that is put before its row is told of it",
        "storage/sql/record_stored.sql",
        "autos_portal_answered(_slot_tokens)",
        "autos_portal_answered('{}')",
        STORING,
    ),
    _mutant(
        "the slots of a fresh file that was cancelled",
        "actors/storing.py",
        "self.file.lease if self.file.is_fresh else None)",
        "None)",
        STORING,
    ),
    _mutant(
        "the date of a sweep's note, after the deletion",
        "storage/sql/note_swept_objects.sql",
        "SELECT key, clock_timestamp() FROM unnest(",
        "SELECT key, transaction_timestamp() FROM unnest(",
        STORING,
    ),
    _mutant(
        "that a deletion whose answer is lost is noted",
        "storage/sweeps.py",
        "        return error\n    return None",
        "        raise error\n    return None",
        STORING,
    ),
    _mutant(
        "the limit to how long a deletion may hold up what is stored",
        "storage/objects.py",
        "inspected_pools(timeout=urllib3.Timeout(total=DELETE_S), retries=False)",
        "inspected_pools(timeout=urllib3.Timeout(total=60), retries=False)",
        STORING,
    ),
    _mutant(
        "the lease of what is put while PostgreSQL is waited for",
        "actors/storing.py",
        "with self.keeper.holding(file.lease):",
        "with suppress():",
        STORING,
    ),
    _mutant(
        "the lease of what was fetched while PostgreSQL is waited for",
        "actors/download.py",
        "with self.keeper.holding(claim.lease):",
        "with suppress():",
        STORING,
    ),
    _mutant(
        "that whoever has something left to record is given nothing",
        "actors/asker.py",
        "free = [turn for turn in turns if not turn.unrecorded]",
        "free = list(turns)",
        STORING,
    ),
    _mutant(
        "the note of a sweep before it deletes",
        "storage/sweeps.py",
        '        transaction.run(sql.statement("note_swept_objects"), keys=going)\n    with',
        "    with",
        STORING,
    ),
    _mutant(
        "the patience of a clock that stood still",
        "actors/clock.py",
        "time.monotonic() - begun > self.asking.lease_s / 2",
        "False",
        REPAIRS,
    ),
    _mutant(
        "the rest for a Redis that does not answer",
        "actors/enqueue.py",
        "self._quiet_until = time.monotonic() + QUIET_S",
        "pass",
        BROKER,
    ),
    _mutant(
        "the limit to what a listing waits for the bucket",
        "actors/listing.py",
        "self.watchdog.limit(LOOK_S + LISTING_LIMIT_S)",
        "self.watchdog.limit(LISTING_LIMIT_S)",
        LISTING,
    ),
    _mutant(
        "that a server which may only be read is away",
        "storage/database.py",
        "if _state(error) == READ_ONLY_SQL_TRANSACTION:",
        "if False:",
        DATABASE,
    ),
    _mutant(
        "that what a sweep took from under a worker is put again, not fetched again",
        "actors/storing.py",
        "return self._send(file, put.data, PATIENCE_S) if file else None",
        "return None",
        STORING,
    ),
    _mutant(
        "the lease check of a listing that is recorded in one step",
        "storage/sql/record_listing.sql",
        "WHERE job_id = _job_id AND listing_lease = _lease FOR UPDATE INTO job;",
        "WHERE job_id = _job_id FOR UPDATE INTO job;",
        "tests/integration/test_jobs.py",
        "tests/integration/test_listing.py",
    ),
    _mutant(
        "the listed size that is checked with the listing",
        "storage/listings/listing_import.py",
        "return limits.refusal(self.listed.listed_size_bytes)",
        "return None",
        "tests/integration/test_large_documents.py",
    ),
    _mutant(
        "the listed size that is checked by a retry",
        "storage/reruns.py",
        "            _is_small_enough(size_limits),\n",
        "",
        "tests/integration/test_large_documents.py",
    ),
    _mutant(
        "what an earlier job stored of a case",
        "storage/listing_claims.py",
        "AND earlier.process_number = jobs.process_number AND earlier.listed_time IS NOT NULL)",
        "AND earlier.process_number = jobs.process_number AND false)",
        "tests/integration/test_listing.py",
    ),
    _mutant(
        "the number of slots of a court",
        "storage/turns.py",
        "AND count >= %(per_court)s",
        "AND count >= %(per_court)s + 99",
        SLOTS,
    ),
    _mutant(
        "the renewal of slots",
        "storage/sql/renew_leases.sql",
        "    FROM (SELECT scope, number, lease FROM slots WHERE lease = ANY(_leases)\n",
        "    FROM (SELECT scope, number, lease FROM slots WHERE lease = ANY(_leases) AND false\n",
        SLOTS,
    ),
    _mutant(
        "the slot of what was cut, until the portal notices",
        "storage/claims.py",
        "            slots.linger(transaction, claim.lease)\n\n",
        "            slots.free(transaction, claim.lease)\n\n",
        SLOTS,
    ),
    _mutant(
        "the rate",
        "storage/tasks.py",
        "    if not is_mine:\n        raise _Overtaken\n",
        "",
        SLOTS,
    ),
    _mutant(
        "the pause of everybody",
        "storage/turns.py",
        "WHERE paused_until <= clock_timestamp()",
        "WHERE paused_until IS NOT NULL",
        PAUSES,
    ),
    _mutant(
        "the slow start after a pause",
        "storage/turns.py",
        "least(%(at_once)s, floor(eased)) AS at_once",
        "least(%(at_once)s, NULL) AS at_once",
        PAUSES,
    ),
    _mutant(
        "one strike for requests that were there already",
        "storage/sql/pause_portal.sql",
        "clock_timestamp()) > pause_time AS is_new",
        "clock_timestamp()) IS NOT NULL AS is_new",
        PAUSES,
    ),
    _mutant(
        "no attempt burnt by a pause or a court that is away",
        "storage/claims.py",
        "attempts=int(verdict.wait_s is None)",
        "attempts=1",
        PAUSES,
        COURTS,
    ),
    _mutant(
        "the breaker",
        "storage/turns.py",
        "WHERE next_probe_time > clock_timestamp() OR",
        "WHERE false OR",
        COURTS,
    ),
    _mutant(
        "one probe at a time",
        "storage/turns.py",
        "OR (next_probe_time IS NOT NULL AND count > 0)",
        "",
        COURTS,
    ),
    _mutant(
        "the sign of life that clears a court",
        "storage/courts.py",
        "where=Court.next_probe_time.is_null(False) | is_silent",
        "where=None",
        COURTS,
    ),
    _mutant(
        "the share of a client",
        "storage/turns.py",
        "ORDER BY shares.is_bulk, shares.pass, next.job_pass LIMIT 1",
        "ORDER BY shares.is_bulk, next.job_pass LIMIT 1",
        TURNS,
    ),
    _mutant(
        "BULK after all others",
        "storage/turns.py",
        "ORDER BY shares.is_bulk, shares.pass, next.job_pass LIMIT 1",
        "ORDER BY shares.pass, next.job_pass LIMIT 1",
        TURNS,
    ),
    _mutant(
        "that nobody is owed for the past",
        "storage/turns.py",
        "pass = greatest(pass, %(jobs_at)s) + %(cost_s)s / weight",
        "pass = pass + %(cost_s)s / weight",
        TURNS,
    ),
    _mutant(
        "that no client is owed for the past",
        "storage/turns.py",
        "    pass = greatest(pass, %(served_at)s) + %(cost_s)s\n",
        "            pass = pass + %(cost_s)s\n",
        TURNS,
    ),
    _mutant(
        "the turns of jobs of an older release",
        "storage/repairs.py",
        '            turns.enter(transaction, *(row["job_id"] for row in lost))\n',
        "            pass\n",
        TURNS,
    ),
)

_LOGIN = (
    _mutant(
        "the lease of whoever logs in",
        "storage/logins.py",
        'row["is_leased"] or row["wait_s"] > 0',
        'row["wait_s"] > 0',
        TOKENS,
    ),
    _mutant(
        "the pause between two logins",
        "storage/logins.py",
        'row["is_leased"] or row["wait_s"] > 0',
        'row["is_leased"]',
        TOKENS,
    ),
    _mutant(
        "the hold of a refused login",
        "storage/logins.py",
        '        if row["is_held"]:\n            raise CredentialsRefused',
        "        if False:\n            raise CredentialsRefused",
        TOKENS,
    ),
    _mutant(
        "the fingerprint of what was refused",
        "storage/logins.py",
        "(PortalLogin.refused_fingerprint == login.fingerprint)",
        "PortalLogin.refused_fingerprint.is_null(False)",
        TOKENS,
    ),
    _mutant(
        "the newest refresh token",
        "actors/tokens.py",
        "attempt.refresh_token or self._refresh_token",
        "self._refresh_token",
        TOKENS,
    ),
    _mutant(
        "the minute before the end",
        "storage/logins.py",
        "good_for_s - min(MARGIN_S, good_for_s / 2)",
        "good_for_s",
        TOKENS,
    ),
    _mutant(
        "the care that nothing older is kept",
        "storage/logins.py",
        "                PortalLogin.generation == attempt.generation,\n            )\n        )\n"
        "    return Token(",
        "                PortalLogin.generation >= attempt.generation,\n            )\n        )\n"
        "    return Token(",
        TOKENS,
    ),
    _mutant(
        "the encryption of the refresh token",
        "storage/logins.py",
        "cipher.encrypt(refresh_token) if refresh_token else None",
        "refresh_token",
        TOKENS,
    ),
    _mutant(
        "the second case before a token counts as refused",
        "storage/logins.py",
        'row["refused_until"] is not None or row["doubtful_case"] != process_number',
        "True",
        TOKENS,
    ),
    _mutant(
        "the good answer that ends a doubt",
        "actors/login_watch.py",
        "        self._good_at = max(self._good_at, at)\n",
        "",
        TOKENS,
    ),
    _mutant(
        "the memory of cases that no token helps",
        "actors/tokens.py",
        "time.monotonic() < self._hopeless.get(process_number, 0.0)",
        "False",
        TOKENS,
    ),
)

_CALLERS = (
    _mutant(
        "the caller's client in the look for a job",
        "storage/jobs/__init__.py",
        "return (Job.job_id == job_id) & (Job.client == client)",
        "return Job.job_id == job_id",
        CALLERS,
    ),
    _mutant(
        "the caller's client in the look for documents",
        "storage/documents/__init__.py",
        ".where(Document.job_id == job_id, Job.client == client)",
        ".where(Document.job_id == job_id)",
        CALLERS,
    ),
    _mutant(
        "the end of a watch whose token was taken out",
        "server/interceptor.py",
        "self._callers.require_same(self._client, self._method, self._context)",
        "pass",
        CALLERS,
    ),
    _mutant(
        "the wrong token before a good certificate",
        "server/callers.py",
        "    if given:\n",
        "    if given and not context.peer_identities():\n",
        TLS,
    ),
    _mutant(
        "the look at renewed certificates",
        "server/tls.py",
        "if versions == self._seen:",
        "if True:",
        TLS,
    ),
    _mutant(
        "the look whether a key fits its certificate",
        "server/tls.py",
        "if private_key.public_key() != certificate.public_key():",
        "if False:",
        TLS,
    ),
    _mutant(
        "the seats that are unique",
        SCHEMA,
        "CREATE UNIQUE INDEX jobs_seats",
        "CREATE INDEX jobs_seats",
        LIMITS,
    ),
    _mutant(
        "the seats of before a lower limit",
        "storage/sql/free_seat.sql",
        "AND seated.seat > _seats LIMIT 1) IS NULL",
        "AND false) IS NULL",
        LIMITS,
    ),
    _mutant(
        "the seat of a rerun",
        "storage/reruns.py",
        "seat = _free_seat(transaction, client, jobs_at_once)",
        "seat = None",
        LIMITS,
    ),
    _mutant(
        "the pushback that gRPC obeys",
        "server/errors.py",
        "trailers = [*rich.trailing_metadata, *_pushback(details)]",
        "trailers = [*rich.trailing_metadata]",
        LIMITS,
    ),
    _mutant(
        "the room that a watch leaves",
        "server/open_watches.py",
        "            self._open[client.name] -= 1\n",
        "",
        LIMITS,
    ),
    _mutant(
        "the rate over several processes",
        "storage/start_rate.py",
        'keys=[f"autos:starts:{client}"]',
        'keys=[f"autos:starts:{client}:{id(self)}"]',
        LIMITS,
    ),
    _mutant(
        "the wake-up for jobs that were begun",
        "server/starting.py",
        "                self._wakes.ask(first)\n",
        "                pass\n",
        STARTING,
    ),
    _mutant(
        "whose start a log line tells of",
        "server/starting.py",
        "start.context.run(_logged, view, ",
        "_logged(view, ",
        STARTING,
    ),
    _mutant(
        "the look for who finds that nobody has looked lately",
        "server/starting.py",
        "queue.seen(job_ids[1:])",
        "queue.seen(job_ids)",
        STARTING,
    ),
    _mutant(
        "that one look is waited for by one",
        "storage/queue_view.py",
        "is_young or (self._looking.locked() and self.has_looked)",
        "is_young",
        "tests/integration/test_queue_view.py",
    ),
    _mutant(
        "the answers of those who stay when one leaves",
        "server/batches.py",
        "                if not answer.cancelled():\n                    answer.set_result",
        "                if True:\n                    answer.set_result",
        QUESTIONS,
    ),
)

MUTANTS = (*_LEASES, *_CLOCK, *_ONCE, *_BYTES, *_TOLD, *_GUEST, *_LOGIN, *_CALLERS)
