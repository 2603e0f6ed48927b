"""What runs cost, took and were worth: the figures, and the page that shows them."""
