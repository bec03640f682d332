"""What is generated from a contract: its description as JSON, and the documents, types and models for other programs.

Everything is a pure function of a built contract. `description.py` reads the contract; the other generators read only
the description, so a program in any language could do the same.
"""
