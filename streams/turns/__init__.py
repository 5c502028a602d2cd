"""What agents run on: the batches they are handed, the turns they take, and who may write a table."""
