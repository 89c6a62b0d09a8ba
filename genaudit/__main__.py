"""`python -m genaudit` is the same program as `genaudit`."""

from genaudit.cli import run

run()
