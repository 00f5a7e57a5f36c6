"""Objects on disk and in stores. Knows nothing of documents."""
