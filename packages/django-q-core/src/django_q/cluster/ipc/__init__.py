"""Ways in which the processes of a cluster talk to each other: channels, messages, shared memory."""
