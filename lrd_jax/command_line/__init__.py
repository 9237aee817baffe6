"""What every command shares: its options, its signals and its streams."""
