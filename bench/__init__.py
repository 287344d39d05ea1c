"""Side-by-side measurements: the same model, the same load, every server in turn, several rounds."""
