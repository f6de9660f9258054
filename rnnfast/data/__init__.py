"""Getting data ready: windows, scaling, gaps, vocabularies, padding, trees, spectrograms, readers of files."""

from rnnfast.data.audio import log_mel, mel_filters, power_spectrogram
from rnnfast.data.batching import bucket_by_length, pad_sequences, teacher_forcing
from rnnfast.data.conllu import ConlluSentence, read_conllu
from rnnfast.data.missing import fill_missing
from rnnfast.data.readers import CsvColumns, read_csv, read_csv_header, read_idx, read_text
from rnnfast.data.scaling import MinMaxScaler, Standardizer, scaler_from_state_dict
from rnnfast.data.trees import pack_trees
from rnnfast.data.vocabulary import CharVocabulary, Vocabulary, WordVocabulary
from rnnfast.data.wav import read_wav
from rnnfast.data.windows import sliding_windows, split_chronologically
from rnnfast.data.words import WordEncoder

__all__ = [
    "CharVocabulary",
    "ConlluSentence",
    "CsvColumns",
    "MinMaxScaler",
    "Standardizer",
    "Vocabulary",
    "WordEncoder",
    "WordVocabulary",
    "bucket_by_length",
    "fill_missing",
    "log_mel",
    "mel_filters",
    "pack_trees",
    "pad_sequences",
    "power_spectrogram",
    "read_conllu",
    "read_csv",
    "read_csv_header",
    "read_idx",
    "read_text",
    "read_wav",
    "scaler_from_state_dict",
    "sliding_windows",
    "split_chronologically",
    "teacher_forcing",
]
