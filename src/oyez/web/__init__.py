"""Pages for people: the documentation of a system with its console, and the page for browsers at other addresses.

Everything that a page loads is in this package, or is the official client. There is no build step.
"""
