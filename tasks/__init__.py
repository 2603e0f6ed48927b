"""The task library that ships."""
