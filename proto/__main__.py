"""`python -m proto`: the command `autos`."""

import sys

from proto.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
