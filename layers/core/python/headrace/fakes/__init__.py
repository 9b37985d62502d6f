"""In-memory ports, shipped with the domain: tests, simulations and a reader's first steps use these, never mocks."""
