"""`python -m conversion` is the `xlm` command."""

import sys

from conversion.cli import main

if __name__ == "__main__":
    sys.exit(main())
