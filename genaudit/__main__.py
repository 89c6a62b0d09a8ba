"""`python -m genaudit` is the same program as `genaudit`."""

import sys

from genaudit.cli import main

sys.exit(main())
