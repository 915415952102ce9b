"""The contract's messages of a job, built from rows and serialized once."""
