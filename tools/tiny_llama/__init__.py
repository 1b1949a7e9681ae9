"""Parts of tools/train_tiny_llama.py: corpus, model, training, NF4 rounding and evaluation."""
