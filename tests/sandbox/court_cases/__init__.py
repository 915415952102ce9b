"""The cases that the sandbox portal serves, and the bytes of their documents."""
