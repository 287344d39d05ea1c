"""Streams: one file per broker."""
