"""Jobs as callers see them: start, look up, list, cancel, run again, watch."""
