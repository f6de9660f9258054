"""Getting data ready: windows, scaling, gaps, vocabularies, padding, trees, readers for CSV and IDX files."""

from rnnfast.data.batching import bucket_by_length, pad_sequences
from rnnfast.data.missing import fill_missing
from rnnfast.data.readers import CsvColumns, read_csv, read_csv_header, read_idx, read_text
from rnnfast.data.scaling import MinMaxScaler, Standardizer, scaler_from_state_dict
from rnnfast.data.trees import pack_trees
from rnnfast.data.vocabulary import CharVocabulary, Vocabulary, WordVocabulary
from rnnfast.data.windows import sliding_windows, split_chronologically

__all__ = [
    "CharVocabulary",
    "CsvColumns",
    "MinMaxScaler",
    "Standardizer",
    "Vocabulary",
    "WordVocabulary",
    "bucket_by_length",
    "fill_missing",
    "pack_trees",
    "pad_sequences",
    "read_csv",
    "read_csv_header",
    "read_idx",
    "read_text",
    "scaler_from_state_dict",
    "sliding_windows",
    "split_chronologically",
]
