"""`python -m kvmtop`."""

import sys

from .cli import main

sys.exit(main())
