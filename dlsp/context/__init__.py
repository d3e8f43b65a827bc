"""What a prompt is made of, and what never gets into one."""
