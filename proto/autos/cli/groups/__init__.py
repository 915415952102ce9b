"""The commands of one topic each: batches, cases and watched cases."""
