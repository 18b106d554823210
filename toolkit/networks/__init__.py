"""Networks: what learns and what an artefact holds, one per file; nothing here learns or plays."""
