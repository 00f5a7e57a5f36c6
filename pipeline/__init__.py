"""Documents in, rows out: storage, extraction, tokenising, the summarise stage, the ledger, cost and the Ray Data plan."""
