"""Pure inference logic: the standard library and NumPy, no transport, no framework."""
