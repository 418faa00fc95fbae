"""Reads INI texts as Barman does, with Python's own configparser: the judge for src/python.rs.

Input: a JSON list of texts. Output: a JSON list with, for each, the sections as [name, [[option, value], ...]] in
order, or null where Python refuses the text.
"""

import configparser
import io
import json
import sys


def read(text):
    one = configparser.ConfigParser(strict=False)
    one.read_file(io.TextIOWrapper(io.BytesIO(text.encode("utf-8")), encoding="utf-8"))
    # The second reader is where Barman collects all files: values are resolved on the way in and on the way out.
    every = configparser.ConfigParser(strict=False)
    for section in one.sections():
        every.add_section(section)
        for option, value in one[section].items():
            every.set(section, option, value)
    return [[name, [[option, every.get(name, option)] for option in every.options(name)]] for name in every.sections()]


def answer(text):
    try:
        return read(text)
    except (configparser.Error, ValueError):
        return None


json.dump([answer(text) for text in json.load(sys.stdin)], sys.stdout)
