"""docs/development/mutation-tests.md: the catalogue of mutants as a table."""

from __future__ import annotations

from pathlib import PurePath

from tests.mutants.catalogue import MUTANTS, Mutant

HEAD = """\
# Mutation tests

`make mutants` takes out one safeguard at a time in a copy of the source and runs the tests that should fail.
`ARGS="lease upload"` chooses the mutants whose name has these words.

The catalogue (`tests/mutants/catalogue.py`) has {count} mutants. The last column names the tests that run for each
mutant, not the result of a run. `tests/unit/tools/test_mutants.py` checks with every `make test` that each safeguard
still stands once in its place.

On the present core the catalogue was not run whole. On the former core 159 mutants were run, and a test failed for
each of them.

| taken out | where | tests that run |
|---|---|---|"""


def page() -> str:
    """Return the page, without the note that it is generated."""
    return "\n".join([HEAD.format(count=len(MUTANTS)), *map(_row, MUTANTS), ""])


def _row(mutant: Mutant) -> str:
    names = dict.fromkeys(PurePath(test.partition("::")[0]).stem for test in mutant.tests)
    return f"| {mutant.without} | `{mutant.file}` | {'; '.join(f'`{name}`' for name in names)} |"
