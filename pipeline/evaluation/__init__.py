"""How good summaries are: beside those that people wrote, and beside what simple methods make."""
