"""What is raised for a file that holds no valid model, and for a model that cannot be said in another's words."""


class ModelFileError(ValueError):
    """A model file or checkpoint is empty, cut short, damaged, of another format or does not fit together."""


class ConversionError(ValueError):
    """A model has a part, named in the message, that the other library or format (or this one) cannot express."""
