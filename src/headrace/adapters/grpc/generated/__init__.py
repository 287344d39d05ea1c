"""Made of open_inference.proto by scripts/protos.py; not written by hand."""
