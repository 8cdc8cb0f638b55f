"""/v1/responses: items in and out, told by events, kept for the next turn."""
