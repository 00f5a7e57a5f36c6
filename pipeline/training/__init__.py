"""What is learned here: language models, from scratch or further, and the weights of `pipeline.sentences`."""
