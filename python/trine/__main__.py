"""`python -m trine` is the `trine` command."""

import sys

from _trine_command import main

if __name__ == "__main__":
    sys.exit(main())
