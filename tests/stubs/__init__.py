"""Test docs/howto/generate-clients.md: generate, compile and call stubs of other languages."""
