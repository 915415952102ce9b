"""The scheduler: proposes which portal requests begin next; the claim in the rows decides."""
