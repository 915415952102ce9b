"""Make every table, index and constraint that this version has."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Run the `.sql` file of the same name. The caller holds the transaction and the lock."""
    text = Path(__file__).with_suffix(".sql").read_text()
    # peewee passes an empty tuple of values to the driver, for which a lone % is an error.
    db.execute_sql(text.replace("%", "%%"))
