"""PostgreSQL: the pool, its errors, the settings of its sessions, the migrations."""
