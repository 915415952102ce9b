"""What makes a process of the Procfile run: its broker, its dependencies, its entry point."""
