"""Real services that tests start for themselves and take down again."""
