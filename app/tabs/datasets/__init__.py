"""The tab Datasets: opening data sets, adding predictions, predicting a data set, and reading classes by name."""
