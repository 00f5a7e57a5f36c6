"""Settings: what a person may ask for, checked before anything starts. Imports neither torch nor ray."""

VERSION = "0.1.0"
