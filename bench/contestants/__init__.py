"""What is compared: each contestant is a process of its own, written as its own users would write it."""
