"""Several tasks on one or several data sets, with one shared encoder."""
