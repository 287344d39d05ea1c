"""Files and object stores: where tables and artefacts are."""
