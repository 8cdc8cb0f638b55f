"""`python -m pandagpt` is the command `pandagpt`."""

from pandagpt.cli import main

main()
