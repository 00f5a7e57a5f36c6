"""What is asked about a document, and whether an answer will do."""
