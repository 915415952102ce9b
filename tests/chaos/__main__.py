"""`python -m tests.chaos`, which is `make chaos`: exit code 1 if a check fails."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dev.processes.interrupts import raise_at_stop_signals
from storage.errors import ConfigurationError
from tests.chaos.chaos_options import options_of
from tests.chaos.chaos_run import RunOutcome, run_seed
from tests.chaos.report import summary, table


def main(arguments: Sequence[str]) -> int:
    """Run the seeds and return the exit code."""
    options = options_of(arguments)
    raise_at_stop_signals()
    outcomes: list[RunOutcome] = []
    for seed in range(options.seed, options.seed + options.seeds):
        print(f"seed {seed} runs; its log is {options.folder / f'seed-{seed}' / 'chaos.log'}")
        outcomes.append(run_seed(options, seed))
        print("\n".join(table(outcomes[-1])), flush=True)
    if len(outcomes) > 1:
        print("\n".join(summary(outcomes)))
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConfigurationError as error:
        sys.exit(f"chaos: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
