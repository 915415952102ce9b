"""`make demo`: what it shows, where it runs, and how it checks the result."""
