"""Classes renamed, merged, reordered or split in all files that name or number them, without computing a frame."""
