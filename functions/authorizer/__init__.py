"""API key or token → tenant, plan and scopes. Everything else learns who calls from here, and only from here."""
