"""One file per path of the API."""
