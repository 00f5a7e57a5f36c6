"""What it cost: reports, bills, and reconciliation."""
