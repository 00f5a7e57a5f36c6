"""Money: exact amounts, meters, prices."""
