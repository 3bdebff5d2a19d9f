"""`python -m kbert`: the same as the program `kbert`."""

import sys

from kbert.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
