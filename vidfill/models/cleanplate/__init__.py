"""The default model: real pixels where any frame shows them, a painter network where none does."""
