"""The start of each Procfile process: its broker, its dependencies, its entry point."""
