"""Operating system and interpreter: memory, processors, process groups, titles."""
