"""One key, one request, one answer."""
