"""Check PostgreSQL's plans: how it reads the tables for each statement of storage/sql/."""
