"""Programs that try to break what docs/delivery.md promises: bad networks, killed processes, deploys, attacks.

Each is run by hand, `python -m chaos.NAME --help` lists its options, and each writes its section of a page in docs/.
Speed is measured in `bench`, whose processes, tokens and tables these programs use.
"""
