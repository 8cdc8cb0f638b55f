"""Requests in, token events out. Knows no HTTP."""
