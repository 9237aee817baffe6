"""Many runs: what is to run, running it, and what follows from the numbers."""
