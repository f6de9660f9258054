"""What other libraries call things, so that an error can say how it is done here. Read when a name is not found."""

from __future__ import annotations

# Methods and attributes of torch.nn.Module and of Keras's layers and models.
_MODE = "there is no mode: a call is inference, and forward is training"
_GRADIENTS = "gradients are a dict of the caller's: forward returns a pullback that adds to it"
_TRAINER = "a Trainer does that: Trainer(model, loss, optimizer)"
_PLACE = "everything is NumPy's, on the CPU; dtype is an argument of the layer's constructor"
OF_LAYERS = {
    **dict.fromkeys(("train", "eval", "training", "trainable"), _MODE),
    **dict.fromkeys(("zero_grad", "backward", "requires_grad_", "grad"), _GRADIENTS),
    **dict.fromkeys(("fit", "compile", "evaluate", "predict", "train_on_batch"), _TRAINER),
    **dict.fromkeys(("to", "cuda", "cpu", "half", "float", "double", "device"), _PLACE),
    **dict.fromkeys(("reset_states", "reset_state"), "state is passed in and handed back, so there is none to reset"),
    **dict.fromkeys(("named_parameters", "weights", "trainable_weights"), "parameters() is a dict by name"),
    **dict.fromkeys(("save", "save_weights"), "save_model(model, path) does that"),
    **dict.fromkeys(("load", "load_weights"), "load_model(path) does that"),
    "summary": "print(model) shows it as a table",
    "count_params": "num_parameters() does that",
    "get_weights": "state_dict() has them by name, to_keras_weights(model) in Keras's order",
    "set_weights": "load_state_dict takes them by name, load_keras_weights(model, weights) in Keras's order",
    "flatten_parameters": "weights are packed by themselves",
    "add": "a Sequential is given all its layers: Sequential(first, second)",
    "append": "a Sequential is given all its layers: Sequential(first, second)",
}

# Classes and functions of torch.nn, torch.optim and keras.
_PACKING = "lengths=, an argument of calls"
OF_PACKAGE = {
    "Linear": "Dense",
    "TimeDistributed": "Dense, which takes sequences too",
    "SimpleRNN": "RNN",
    "LayerNormalization": "LayerNorm",
    "Bidirectional": "bidirectional=True of a recurrent layer",
    "GlobalAveragePooling1D": "MeanPool",
    "GlobalMaxPooling1D": "MaxPool",
    "Masking": _PACKING,
    "pack_padded_sequence": _PACKING,
    "pad_packed_sequence": _PACKING,
    "pad_sequence": "rnnfast.data.pad_sequences",
    "ReLU": 'Activation("relu")',
    "Tanh": 'Activation("tanh")',
    "Sigmoid": 'Activation("sigmoid")',
    "Softmax": 'Activation("softmax")',
    **dict.fromkeys(("RNNCell", "LSTMCell", "GRUCell"), "Stream, which takes one step at a time"),
    **dict.fromkeys(
        ("CrossEntropyLoss", "NLLLoss", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"),
        "SoftmaxCrossEntropy",
    ),
    **dict.fromkeys(("BCEWithLogitsLoss", "BCELoss", "BinaryCrossentropy"), "SigmoidCrossEntropy"),
    **dict.fromkeys(("MSELoss", "MeanSquaredError"), "MeanSquared"),
    **dict.fromkeys(("L1Loss", "MeanAbsoluteError"), "MeanAbsolute"),
    **dict.fromkeys(("HuberLoss", "SmoothL1Loss"), "Huber"),
    "RMSprop": "RMSProp",
    "CosineAnnealingLR": "Cosine",
    "OneCycleLR": "OneCycle",
    **dict.fromkeys(("ReduceLROnPlateau",), "Plateau"),
    **dict.fromkeys(("clip_grad_norm_",), "clip_by_global_norm, or clip_norm= of Trainer"),
    "Module": "Layer; models are put together by Sequential",
    "Model": "Sequential",
}


def no_attribute(owner: object, name: str) -> AttributeError:
    """Return the error of a layer that has no such attribute."""
    hint = f"; {OF_LAYERS[name]}" if name in OF_LAYERS else ""
    return AttributeError(f"{type(owner).__name__} has no attribute {name!r}{hint}", name=name, obj=owner)


def no_name(module: str, name: str) -> AttributeError:
    """Return the error of the package, which has no such name."""
    hint = f"; here it is {OF_PACKAGE[name]}" if name in OF_PACKAGE else ""
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)
