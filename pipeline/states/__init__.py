"""States that outlive an actor: snapshots, and those that are kept."""
