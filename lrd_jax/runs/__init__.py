"""Run folders: what a run leaves on disk and shows on the terminal."""
