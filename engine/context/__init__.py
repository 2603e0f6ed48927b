"""What a model is given to read: sources ranked, pruned and assembled within a token budget."""
