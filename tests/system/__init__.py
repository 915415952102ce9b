"""What tests of the whole system share: a running Autos, calls, checks of streams, the bucket."""
