"""The commands, one module for each word that stands first."""
