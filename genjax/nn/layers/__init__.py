"""What every network is built of: attention, convolutions, norms, blocks, embeddings, codebooks."""
