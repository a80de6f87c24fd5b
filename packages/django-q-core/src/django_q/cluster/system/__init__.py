"""Services of the operating system and of the interpreter that a cluster uses."""
