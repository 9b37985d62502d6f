"""The bodies of `/v1`, as callers write and read them."""
