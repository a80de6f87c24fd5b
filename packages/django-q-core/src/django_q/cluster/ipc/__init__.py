"""Communication between the processes of a cluster: channels, messages, shared memory."""
