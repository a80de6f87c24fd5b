"""What the public editions wrote, and what they can read of ours."""
