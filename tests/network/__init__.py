"""Connections for tests: certificates, proxies, TLS, servers that answer byte for byte."""
