"""Content-addressed artefacts: where values too large to travel rest."""
