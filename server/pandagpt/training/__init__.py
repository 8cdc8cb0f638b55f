"""Training and evaluation: the toy world, alignment, SFT. Never meets `api`."""
