"""Tasks: each owns a model, its vocabulary or scaler, and its metrics."""
