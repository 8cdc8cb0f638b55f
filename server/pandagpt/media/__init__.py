"""Bytes in, float32 arrays out. Knows no network, no device and no request."""
