"""What writes tables and pages of `docs/`, and the site that is built from it.

`python -m tools.docs.tables` writes the tables again from the code; `python -m tools.docs.first_run` records
docs/first-run.md; `make docs` builds the site with `conf.py`.
"""
