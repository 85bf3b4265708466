"""Speech recognition: from audio to text with CTC."""
