"""What calls cost: usage in one form, prices, ledger entries. As pure as the scheduler's core."""
