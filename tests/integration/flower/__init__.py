"""The real Flower on a working installation."""
