"""What people say of rows, and how it corrects a detector."""
