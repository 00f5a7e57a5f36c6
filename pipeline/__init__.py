"""Documents in, rows out: storage, extraction, tokenizing, summarizing, the ledger, cost and the Ray Data plan."""
