# ruff: noqa: RUF001
"""Chinese quatrains: from a file, or put together from lines of famous ones; and whether one keeps its form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnfast.data import read_text
from rnnfast.demos.common import UserError, told_in_one_line

# Twenty quatrains of the Tang dynasty (7th to 9th century), ten in lines of five and ten in lines of seven characters.
FAMOUS = (
    "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。",
    "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。",
    "白日依山盡，黃河入海流。欲窮千里目，更上一層樓。",
    "紅豆生南國，春來發幾枝。願君多採擷，此物最相思。",
    "空山不見人，但聞人語響。返景入深林，復照青苔上。",
    "千山鳥飛絕，萬徑人蹤滅。孤舟蓑笠翁，獨釣寒江雪。",
    "松下問童子，言師採藥去。只在此山中，雲深不知處。",
    "向晚意不適，驅車登古原。夕陽無限好，只是近黃昏。",
    "獨坐幽篁裏，彈琴復長嘯。深林人不知，明月來相照。",
    "移舟泊煙渚，日暮客愁新。野曠天低樹，江清月近人。",
    "月落烏啼霜滿天，江楓漁火對愁眠。姑蘇城外寒山寺，夜半鐘聲到客船。",
    "朝辭白帝彩雲間，千里江陵一日還。兩岸猿聲啼不住，輕舟已過萬重山。",
    "日照香爐生紫煙，遙看瀑布掛前川。飛流直下三千尺，疑是銀河落九天。",
    "故人西辭黃鶴樓，煙花三月下揚州。孤帆遠影碧空盡，唯見長江天際流。",
    "渭城朝雨浥輕塵，客舍青青柳色新。勸君更盡一杯酒，西出陽關無故人。",
    "遠上寒山石徑斜，白雲生處有人家。停車坐愛楓林晚，霜葉紅於二月花。",
    "清明時節雨紛紛，路上行人欲斷魂。借問酒家何處有，牧童遙指杏花村。",
    "朱雀橋邊野草花，烏衣巷口夕陽斜。舊時王謝堂前燕，飛入尋常百姓家。",
    "君問歸期未有期，巴山夜雨漲秋池。何當共剪西窗燭，卻話巴山夜雨時。",
    "秦時明月漢時關，萬里長征人未還。但使龍城飛將在，不教胡馬度陰山。",
)
SIGNS = "，。！？；：、"


class Poems(NamedTuple):
    """Quatrains for training and for the test."""

    name: str
    train: list[str]
    test: list[str]


def patchwork(count: int, seed: int) -> Poems:
    """Return so many quatrains of lines of the famous ones, each line in the place in which it stood."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        half = FAMOUS[:10] if rng.integers(2) else FAMOUS[10:]
        width = len(half[0]) // 4
        parts = [half[rng.integers(len(half))][width * k : width * (k + 1)] for k in range(4)]
        found.append("".join(parts))
    at = count - count // 10
    return Poems("quatrains patched together from famous lines (no file was given)", found[:at], found[at:])


def from_file(path: Path) -> Poems:
    """Return the poems of a file, one a line, a title and a tab before it or not; the last tenth is the test."""
    with told_in_one_line():
        lines = [line.rpartition("\t")[2].strip() for line in read_text(path).split("\n")]
    lines = [line for line in lines if line]
    at = len(lines) - max(1, len(lines) // 10)
    if at < 1:
        raise UserError(f"{path}: there must be at least two poems, one a line")
    return Poems(path.name, lines[:at], lines[at:])


def form_of(poem: str) -> tuple[int, ...]:
    """Return how many characters each line of a poem has; signs end a line."""
    return tuple(len(line) for line in re.split(f"[{SIGNS}]", poem) if line)


def keeps_form(poem: str) -> bool:
    """Return whether a poem is four lines of five characters each, or of seven."""
    return form_of(poem) in ((5,) * 4, (7,) * 4)


def in_lines(poem: str) -> list[str]:
    """Return the lines of a poem, each with its sign."""
    return re.findall(f"[^{SIGNS}]*[{SIGNS}]?", poem)[:-1]
