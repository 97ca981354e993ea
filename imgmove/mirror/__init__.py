"""Mirroring: a file says what should be where, and a pass makes it so, cheaply when nothing changed."""
