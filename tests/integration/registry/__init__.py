"""The registry's commands, with a real serving program and an emulated account."""
