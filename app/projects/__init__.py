"""Projects: a data set, its frames and the predictions of several models, opened below the allowed folders."""
