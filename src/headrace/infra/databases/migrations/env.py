"""Where does Alembic run its migrations? Within the transaction that `infra.databases.revisions` has begun."""

from alembic import context

from headrace.infra.databases.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], version_table=VERSION_TABLE, version_table_pk=False
)
context.run_migrations()
