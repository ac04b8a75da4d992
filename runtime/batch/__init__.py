"""Files and folders to files: scores, codes, reconstructions."""
