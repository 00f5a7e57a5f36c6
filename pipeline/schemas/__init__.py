"""A document as it is listed, and the tables that a run writes."""
