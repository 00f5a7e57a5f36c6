"""Inside one model actor."""
