"""The suites: unit, contract, integration, infrastructure, e2e."""
