"""The parts of a workspace on disk: its documents, what is checked about them, and how a pipeline is built."""
