"""Sessions that continue on another connection, and the events that their clients missed."""
