"""What documents are made of: a module for each format, and the encodings of text."""
