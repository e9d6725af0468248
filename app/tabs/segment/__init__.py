"""The tab Segment: choosing a video and a model, the model worker and its queue, results, filters and downloads."""
