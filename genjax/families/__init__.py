"""Floor 3: one file a family of generators, behind one seam (`base`) and one table of names (`registry`)."""
