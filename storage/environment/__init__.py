"""Rules of the environment: secrets in files, connections without TLS, core dumps."""
