"""Jobs as callers see them: start, read, list, cancel, rerun, watch."""
