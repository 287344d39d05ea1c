"""SQL databases: what Headrace itself remembers, through SQLAlchemy, which is imported once it is needed."""
