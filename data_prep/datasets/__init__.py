"""One file a data set: this folder is the registry."""
