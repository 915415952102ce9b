"""Batches: the jobs of one StartDownloads call."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Runs the `.sql` file of the same name. The caller holds the transaction and the lock."""
    text = Path(__file__).with_suffix(".sql").read_text()
    # peewee hands the driver an empty tuple of values, for which a lone % is an error.
    db.execute_sql(text.replace("%", "%%"))
