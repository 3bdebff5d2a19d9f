"""The fast encoder and the fast training step behind kbert's Keras models."""
