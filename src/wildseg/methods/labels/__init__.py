"""Label methods, one file each; the file's name is the value of label.method."""
