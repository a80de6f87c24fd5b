"""What a cluster asks of the operating system and of the interpreter."""
