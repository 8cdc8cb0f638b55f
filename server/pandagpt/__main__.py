"""`python -m pandagpt` is the command `pandagpt`."""

from pandagpt.cli import main

# Processes that training spawns import this file again, under another name.
if __name__ == "__main__":
    main()
