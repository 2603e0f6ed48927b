"""What earlier runs teach later ones: durations, failure odds, branch odds. Pure: no clock, input or output."""
