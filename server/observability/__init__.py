"""Metrics, traces, log context and channelz of the server process."""
