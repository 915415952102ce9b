"""Valkey or Redis: connections by URL, its errors, and the commands that Autos needs."""
