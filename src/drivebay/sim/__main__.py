"""``python -m drivebay.sim``."""

import sys

from drivebay.sim import main

if __name__ == "__main__":
    sys.exit(main())
