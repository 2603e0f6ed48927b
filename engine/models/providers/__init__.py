"""Providers, each spoken to in its own form; imported when first asked. No prices, budgets or retries here."""
