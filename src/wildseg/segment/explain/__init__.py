"""Why a trained segmenter answers what it answers: maps and features of any of its layers."""
