"""Transports: what carries a connection's packets to and from a client."""
