"""``python -m example_app``."""

import sys

from example_app.command import main

if __name__ == "__main__":
    sys.exit(main())
