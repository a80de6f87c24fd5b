"""The package of a task: how it is built, validated, signed and read."""
