"""Contract suites: fakes and AWS adapters behave alike."""
