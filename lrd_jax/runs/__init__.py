"""Run folders: the files and the terminal output of a run."""
