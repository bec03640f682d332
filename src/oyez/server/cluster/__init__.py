"""The nodes that serve the same systems: how they find and reach each other."""
