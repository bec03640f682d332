"""Engine.IO v4 and Socket.IO v5 without any I/O: bytes in, packets out.

Nothing in this package waits, reads a clock or knows a socket, and input of any kind never raises out of `Session`.
"""
