"""From bytes to tokens: sources, formats, encodings, sections, feeds."""
