"""From the log to the sockets of this process."""
