"""What a contract does at run time: who is admitted, how commands are handled, how events are published."""
