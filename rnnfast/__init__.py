"""rnnfast: train and serve recurrent neural networks on CPUs.

>>> import rnnfast
>>> lstm = rnnfast.LSTM(input_size=3, hidden_size=5, seed=0)
>>> y, (h, c) = lstm([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]])
>>> y.shape
(1, 2, 5)

Names are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "_native.kernels": ("release_memory",),
    "backend": ("get_backend", "use_backend"),
    "callbacks": ("Callback", "Checkpoint", "CSVLogger", "EarlyStopping"),
    "clipping": ("clip_by_global_norm", "clip_by_value", "global_norm"),
    "crf_loss": ("CRFLoss",),
    "ctc": ("CTCLoss",),
    "ctc_decoding": ("LabelErrorRate", "Labelling", "ctc_beam_search", "ctc_greedy"),
    "decoding": ("Hypothesis", "Stepper", "beam_search", "greedy", "sample_sequences", "stream_tokens"),
    "gates": ("gate_activations",),
    "diagnostics": ("Diagnosis", "diagnose"),
    "generation": ("generate", "generate_text", "sample"),
    "gradient_check": ("GradcheckResult", "gradcheck"),
    "graph": ("Graph",),
    "io": (
        "ConversionError",
        "ModelFileError",
        "convert",
        "export_onnx",
        "from_keras",
        "from_torch",
        "import_onnx",
        "load_checkpoint",
        "load_keras_weights",
        "load_model",
        "load_torch_state_dict",
        "save_checkpoint",
        "save_model",
        "to_keras_weights",
        "to_torch_state_dict",
    ),
    "layers": (
        "CRF",
        "GRU",
        "LSTM",
        "MGU",
        "QRNN",
        "RNN",
        "Attention",
        "SRU",
        "Cell",
        "CellLayer",
        "Activation",
        "Chain",
        "Dense",
        "Dropout",
        "Embedding",
        "Ends",
        "IndRNN",
        "Jordan",
        "Last",
        "Layer",
        "LayerNorm",
        "MaxPool",
        "MeanPool",
        "MinGRU",
        "MinLSTM",
        "OutputFeedback",
        "Sequential",
        "TreeEncoder",
        "TreeLSTM",
        "checkpointed",
    ),
    "losses": (
        "Huber",
        "MeanAbsolute",
        "MeanSquared",
        "SigmoidCrossEntropy",
        "SoftmaxCrossEntropy",
        "balanced_class_weight",
    ),
    "loggers": ("JSONLLogger", "TensorBoardLogger"),
    "metrics": ("MAE", "MSE", "RMSE", "Accuracy", "BinaryAccuracy", "BitsPerSymbol", "Perplexity"),
    "models": ("EncoderDecoder", "LanguageModel", "Tagger", "VectorToSequence"),
    "optimizers": ("SGD", "Adagrad", "Adam", "AdamW", "RMSProp"),
    "schedules": ("Constant", "Cosine", "OneCycle", "Plateau", "ScheduledSampling", "StepDecay", "WarmUp"),
    "stream": ("Stream",),
    "threads": ("get_num_threads", "limit_threads", "set_num_threads"),
    "trainer": ("Trainer", "TrainingError"),
}
_SUBMODULES = (
    "data",
    "decoding",
    "initializers",
    "io",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "schedules",
)
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME, *_SUBMODULES]

if TYPE_CHECKING:  # for type checkers, to whom a name is public only if it is repeated
    from rnnfast._native.kernels import release_memory as release_memory
    from rnnfast import (
        data as data,
        decoding as decoding,
        initializers as initializers,
        io as io,
        layers as layers,
        losses as losses,
        metrics as metrics,
        models as models,
        optimizers as optimizers,
        plotting as plotting,
        schedules as schedules,
    )
    from rnnfast.backend import get_backend as get_backend, use_backend as use_backend
    from rnnfast.callbacks import (
        Callback as Callback,
        Checkpoint as Checkpoint,
        CSVLogger as CSVLogger,
        EarlyStopping as EarlyStopping,
    )
    from rnnfast.clipping import (
        clip_by_global_norm as clip_by_global_norm,
        clip_by_value as clip_by_value,
        global_norm as global_norm,
    )
    from rnnfast.crf_loss import CRFLoss as CRFLoss
    from rnnfast.ctc import CTCLoss as CTCLoss
    from rnnfast.ctc_decoding import (
        LabelErrorRate as LabelErrorRate,
        Labelling as Labelling,
        ctc_beam_search as ctc_beam_search,
        ctc_greedy as ctc_greedy,
    )
    from rnnfast.decoding import (
        Hypothesis as Hypothesis,
        Stepper as Stepper,
        beam_search as beam_search,
        greedy as greedy,
        sample_sequences as sample_sequences,
        stream_tokens as stream_tokens,
    )
    from rnnfast.gates import gate_activations as gate_activations
    from rnnfast.diagnostics import Diagnosis as Diagnosis, diagnose as diagnose
    from rnnfast.generation import generate as generate, generate_text as generate_text, sample as sample
    from rnnfast.gradient_check import GradcheckResult as GradcheckResult, gradcheck as gradcheck
    from rnnfast.graph import Graph as Graph
    from rnnfast.io import (
        ConversionError as ConversionError,
        ModelFileError as ModelFileError,
        convert as convert,
        export_onnx as export_onnx,
        from_keras as from_keras,
        from_torch as from_torch,
        import_onnx as import_onnx,
        load_checkpoint as load_checkpoint,
        load_keras_weights as load_keras_weights,
        load_model as load_model,
        load_torch_state_dict as load_torch_state_dict,
        save_checkpoint as save_checkpoint,
        save_model as save_model,
        to_keras_weights as to_keras_weights,
        to_torch_state_dict as to_torch_state_dict,
    )
    from rnnfast.layers import (
        CRF as CRF,
        GRU as GRU,
        LSTM as LSTM,
        MGU as MGU,
        QRNN as QRNN,
        RNN as RNN,
        Attention as Attention,
        SRU as SRU,
        Cell as Cell,
        CellLayer as CellLayer,
        Activation as Activation,
        Chain as Chain,
        Dense as Dense,
        Dropout as Dropout,
        Embedding as Embedding,
        Ends as Ends,
        IndRNN as IndRNN,
        Jordan as Jordan,
        Last as Last,
        Layer as Layer,
        LayerNorm as LayerNorm,
        MaxPool as MaxPool,
        MeanPool as MeanPool,
        MinGRU as MinGRU,
        MinLSTM as MinLSTM,
        OutputFeedback as OutputFeedback,
        Sequential as Sequential,
        TreeEncoder as TreeEncoder,
        TreeLSTM as TreeLSTM,
        checkpointed as checkpointed,
    )
    from rnnfast.loggers import JSONLLogger as JSONLLogger, TensorBoardLogger as TensorBoardLogger
    from rnnfast.losses import (
        Huber as Huber,
        MeanAbsolute as MeanAbsolute,
        MeanSquared as MeanSquared,
        SigmoidCrossEntropy as SigmoidCrossEntropy,
        SoftmaxCrossEntropy as SoftmaxCrossEntropy,
        balanced_class_weight as balanced_class_weight,
    )
    from rnnfast.models import Tagger as Tagger
    from rnnfast.metrics import (
        MAE as MAE,
        MSE as MSE,
        RMSE as RMSE,
        Accuracy as Accuracy,
        BinaryAccuracy as BinaryAccuracy,
        BitsPerSymbol as BitsPerSymbol,
        Perplexity as Perplexity,
    )
    from rnnfast.models import (
        EncoderDecoder as EncoderDecoder,
        LanguageModel as LanguageModel,
        VectorToSequence as VectorToSequence,
    )
    from rnnfast.optimizers import SGD as SGD, Adagrad as Adagrad, Adam as Adam, AdamW as AdamW, RMSProp as RMSProp
    from rnnfast.schedules import (
        Constant as Constant,
        Cosine as Cosine,
        OneCycle as OneCycle,
        Plateau as Plateau,
        ScheduledSampling as ScheduledSampling,
        StepDecay as StepDecay,
        WarmUp as WarmUp,
    )
    from rnnfast.stream import Stream as Stream
    from rnnfast.threads import (
        get_num_threads as get_num_threads,
        limit_threads as limit_threads,
        set_num_threads as set_num_threads,
    )
    from rnnfast.trainer import Trainer as Trainer, TrainingError as TrainingError


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise importlib.import_module(f"{__name__}.elsewhere").no_name(__name__, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
