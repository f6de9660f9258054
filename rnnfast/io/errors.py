"""What is raised for a file that holds no valid model."""


class ModelFileError(ValueError):
    """A model file or checkpoint is empty, cut short, damaged, of another format or does not fit together."""
