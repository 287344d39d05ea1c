"""The cache port, implemented: one file per place where values are kept."""
