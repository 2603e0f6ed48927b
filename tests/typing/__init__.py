"""What a type checker says of a user's Python plans."""
