"""Key sentences: a summary made of a document's own sentences, in one pass of bounded memory, without a model."""
