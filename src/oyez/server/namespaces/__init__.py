"""Namespaces, their sockets and their rooms."""
