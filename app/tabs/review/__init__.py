"""The tab Review: the queue of questions, decisions with undo and redo, corrected labels and AP before and after."""
