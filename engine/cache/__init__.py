"""Results of tools and models that need not be made again, and when they no longer hold."""
