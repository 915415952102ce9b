"""`python -m autos`: the command `autos`."""

import sys

from autos.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
