"""``python -m mtlora_lite``: the command line."""

import sys

from mtlora_lite.cli import main

if __name__ == "__main__":
    sys.exit(main())
