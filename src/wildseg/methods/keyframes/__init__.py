"""Key-frame methods, one file each; the file's name is the value of extract.method."""
