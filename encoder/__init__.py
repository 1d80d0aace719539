"""Turns masters into published, immutable chapter versions; imports nothing else of this project."""
