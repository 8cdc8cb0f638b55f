"""Tensors in, tensors out. Has never heard of a request."""
