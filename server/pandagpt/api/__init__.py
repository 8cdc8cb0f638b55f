"""HTTP in front of the engine: the only floor that knows FastAPI."""
