"""One module a revision, in order. A released revision is never edited."""
