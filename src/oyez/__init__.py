"""Oyez: a real-time event server for marketplaces.

A system's events are declared once, as a contract; what follows from it is validated, delivered and kept.
"""

__version__ = "0.1.0"
