"""Engine.IO v4 and Socket.IO v5 without any I/O: bytes in, packets out.

Nothing in this package waits, reads a clock or uses a socket. `Session` raises no error for any input of a client.
"""
