"""The state of Autos: holds of jobs, the gauges of the rows, the check of settings at a start."""
