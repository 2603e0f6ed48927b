"""Model calls: the catalogue, the providers, and the one way every call takes."""
