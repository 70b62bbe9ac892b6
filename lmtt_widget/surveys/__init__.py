"""Many prompts at once: what each leaves behind as a row, where rows are kept, and what may be said of them."""
