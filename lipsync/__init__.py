"""Turns one face and one speech into pictures that fill a slot of a chapter for one viewer."""
