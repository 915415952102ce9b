"""Everything that happens without a caller: the steps of jobs, the scheduler, the webhooks."""
