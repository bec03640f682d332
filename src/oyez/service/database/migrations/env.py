"""How Alembic runs migrations: on the connection, and with the table of versions, that `Database.migrate` gives it.

One transaction for all that is missing, which the caller commits.
"""

from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
