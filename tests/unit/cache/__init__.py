"""Keys of the cache: what is told apart, and what is not."""
