"""What the installation says of models: providers, prices, budgets, caches, classes; one YAML file, read once."""
