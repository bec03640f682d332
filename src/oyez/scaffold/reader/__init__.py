"""Reads event documents that were written for people, and writes contracts from them."""
