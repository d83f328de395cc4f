"""Child processes that never outlive their parent, and what they inherit."""
