"""The policy of the scheduler: which portal requests it proposes next. The claim decides.

All modules here are pure: no I/O, no clock, no threads. actors/scheduler/loop.py owns one
`SchedulerState` and, from one thread,

- calls `state.receive(hint, now)` for each hint that it drains from Valkey;
- calls `state.read_portal(reading, now)` every second, and `state.read_jobs(reading, now)` for each
  portion of jobs, so that all are read within 10 s, and for jobs with a run that began within a
  minute;
- calls `plan(state, now, uuid4)` then, and at `Plan.next_at`; sends one group of messages a job.

`now` comes from one monotonic clock. `began_at` of a reading is `now` before its first statement is
sent; other times of a reading are the database's, moved by the offset that the loop measured.

A new leader begins with an empty state: without proposals and without earlier charges.
"""
