"""What `pip install .` leaves, in virtual environments of its own: `make packaging`."""
