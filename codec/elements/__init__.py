"""Elements of tensors: their dtypes, words, casts, and which of them stand for all."""
