"""What `rnnfast.trainer.Trainer` is made of: feeds of batches, gradient storage, progress, history, fault finding."""
