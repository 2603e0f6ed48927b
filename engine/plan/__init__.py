"""What an author writes: the plan model, its YAML and Python faces, templates and conditions."""
