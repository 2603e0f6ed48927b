"""The engine as Python calls: submit, watch, cancel."""
