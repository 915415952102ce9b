"""to come"""

from pathlib import Path
from rich.console import Console


def main(console: Console, file: Path | None) -> int:
    """x"""
    return 0
