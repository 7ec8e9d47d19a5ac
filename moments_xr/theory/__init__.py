"""What theory predicts: numpy and scipy only."""
