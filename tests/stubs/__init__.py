"""docs/howto/generate-clients.md: stubs for other languages, generated, compiled and called."""
