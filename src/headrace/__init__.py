"""Headrace: one pipeline definition, run at three speeds."""

__version__ = "0.1.0"
