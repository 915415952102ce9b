"""Test what `pip install .` installs, in separate virtual environments: `make packaging`."""
