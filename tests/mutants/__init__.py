"""Do the tests see? One safeguard is taken out at a time, and a test must notice."""
