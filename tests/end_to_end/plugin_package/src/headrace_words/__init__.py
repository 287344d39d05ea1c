"""Steps about the words of a text."""
