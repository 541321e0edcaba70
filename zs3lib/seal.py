"""The schema of run records, and the checksum by which a record edited by hand is noticed."""

from __future__ import annotations

import hashlib
import json

SCHEMA = 2


def checksum(record: dict) -> str:
    """SHA-256 of a record's content, its own "checksum" left out; the same before and after a trip through JSON."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    plain = json.loads(json.dumps(content))  # tuples and whole-number keys are what JSON makes of them
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(record: dict) -> dict:
    """The record with its schema and checksum. It guards against slips of the hand, not against forgery."""
    record = {"schema": SCHEMA} | record
    return record | {"checksum": checksum(record)}
