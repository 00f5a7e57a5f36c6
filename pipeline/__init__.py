"""Documents in, rows out: storage, extraction, tokenising, summarising, the ledger, cost and the Ray Data plan."""
