"""`make bench`: how fast Autos is, beside what somebody would write or take instead."""
