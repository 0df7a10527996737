"""Every file that a parameter can name: the value of `cam.method` is the name of a file in `methods/cam`."""
