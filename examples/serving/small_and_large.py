"""Two models of one kind: a small one that knows when it is unsure, and a large one.

python -m wattline_runtime.serve --model small_and_large.py:Small
python -m wattline_runtime.serve --model small_and_large.py:Large

They guess the language of a text: `route.toml` is the public name over both. To ask it:

curl -H "api-key: $KEY" -d '{"input": "der Hund und die Katze"}' \
    http://127.0.0.1:7413/v1/services/language/infer
"""

from collections.abc import Mapping

WORDS = {
    "de": {"der", "die", "das", "und", "ist", "nicht", "ein", "eine", "mit", "auf"},
    "en": {"the", "and", "is", "not", "a", "an", "with", "on", "of", "to"},
    "fr": {"le", "la", "les", "et", "est", "pas", "un", "une", "avec", "sur"},
}
LETTERS = {"de": "äöüßkwz", "en": "ywhk", "fr": "éèêàçœq"}


class Small:
    """Counts the most frequent words; its confidence is their share in the text."""

    def load(self, args: Mapping[str, str]) -> None:
        """Nothing to load."""

    def predict(self, batch: list[str]) -> list[dict[str, object]]:
        """An output with a number `confidence` can be judged by a cascade."""
        return [self._guess(text.lower().split()) for text in batch]

    def example(self) -> list[str]:
        """What the worker warms up with."""
        return ["the cat and the dog"]

    def _guess(self, words: list[str]) -> dict[str, object]:
        counts = {name: sum(word in known for word in words) for name, known in WORDS.items()}
        best = max(counts, key=lambda name: counts[name])
        return {"language": best, "confidence": counts[best] / max(1, len(words))}


class Large:
    """Looks at every letter."""

    def load(self, args: Mapping[str, str]) -> None:
        """Nothing to load."""

    def predict(self, batch: list[str]) -> list[dict[str, object]]:
        """Needs no confidence: nothing judges it."""
        return [{"language": self._guess(text.lower())} for text in batch]

    def example(self) -> list[str]:
        """What the worker warms up with."""
        return ["the cat and the dog"]

    def _guess(self, text: str) -> str:
        counts = {name: sum(map(letters.count, text)) for name, letters in LETTERS.items()}
        return max(counts, key=lambda name: counts[name])
