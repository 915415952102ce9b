"""Plans of PostgreSQL: how it reads the tables for each statement of storage/sql/."""
