"""The CPU stand-in: small models and rules, called only when an endpoint did not answer."""
