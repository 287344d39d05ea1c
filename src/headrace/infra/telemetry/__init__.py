"""Where measurements go: one file per system."""
