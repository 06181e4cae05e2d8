"""What every program in `launch/` starts with, and the flags by which people say what they want."""
