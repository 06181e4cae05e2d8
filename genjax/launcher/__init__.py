"""The programs, what each of them starts with, and the flags by which people say what they want."""
