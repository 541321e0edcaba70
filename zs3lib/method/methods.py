"""The systems that the tables compare, one class each: how they are shown, and where they differ.

To add one, write such a class under `@register`: `methods="zs3net,yours"` then trains it, and
tables, figures and checks know it. There is no torch here: tables and commands read this file.
"""

from ..errors import ZS3Error, named

METHODS: dict[str, "Method"] = {}
SELF_TRAINED = "+self_training"  # ends the name of a method's row after self-training


def register(kind: type["Method"]) -> type["Method"]:
    """Add a method under its name; ZS3Error where it has none, or that of another module's."""
    other = METHODS.get(kind.name)
    if not kind.name or (other and type(other).__module__ != kind.__module__):
        raise ZS3Error(f"{kind.__name__} has the name '{kind.name}': give it one that is not taken")
    METHODS[kind.name] = kind()
    return kind


class Method:
    """One system: a name, how it is shown, and how it learns from unseen classes.

    Attributes:
        name: as in settings and records; title: as in tables; colour: in figures.
        rows: {table of the paper: the model's name in it}.
        generates: whether a generator is trained, and unseen classes are learned from its features.
        recursive: whether the generator also learns from what the classifier recognises (Eq. 2).
        extra: whether it stands beside the paper's tables and is run only where it is asked for.
        datasets: the only ones that it is for; none: all.
        trainer: what trains it, "module:Class", loaded with torch when a training begins.
    """

    name = ""
    title = ""
    colour = "#7f7f7f"
    rows: dict[str, str] = {}
    generates = True
    recursive = False
    extra = False
    datasets: tuple[str, ...] = ()
    trainer = "zs3lib.method.stage2:Trainer"

    def weights(self, probabilities, label: int, tau: float):
        """How much each pseudo-feature a_i teaches: c_i of Eq. 2, 0 for one that does not.

        Arguments:
            probabilities: the classifier's softmax over classes, (n, C) tensor.
            label: the class that the pseudo-features were generated for.
            tau: the confidence above which one is trusted.

        Returns: (n,) tensor of the same type.
        """
        raise NotImplementedError(f"{self.name} has no weights(), which a recursive method needs")


def trainer_of(name: str):
    """The class that trains a method, a `stage2.Trainer`."""
    return named(f"the trainer of method {name}", METHODS[name].trainer)


def title(name: str) -> str:
    """A method, or its row after self-training, as tables print it; any other name as it is."""
    method, after, _ = name.partition(SELF_TRAINED)
    known = METHODS[method].title if method in METHODS else method
    if not after:
        return known
    return f"{known.removesuffix(' (extra)')} + self-training (extra, transductive)"


def is_extra(name: str) -> bool:
    """Whether a row of a record stands beside the paper's tables."""
    return SELF_TRAINED in name or name in METHODS and METHODS[name].extra


@register
class NoGenerator(Method):
    name = "no_generator"
    title = "No generator"
    colour = "#8c8c8c"
    generates = False


@register
class ZS3Net(Method):
    name = "zs3net"
    title = "ZS3Net"
    colour = "#0072b2"
    rows = {"I": "ZS3Net", "II": "ZS3Net"}


@register
class Ours(Method):
    """Recursive training (Sec. III-B): what is recognised with confidence above tau teaches."""

    name = "ours"
    title = "Ours"
    colour = "#d55e00"
    rows = {"I": "Ours", "II": "Ours", "III": "Final"}
    recursive = True

    def weights(self, probabilities, label: int, tau: float):
        confidence, predicted = probabilities.max(1)
        # "correct class predictions and with high probability" (Sec. III-B; Sec. I says "or")
        return confidence * ((predicted == label) & (confidence > tau))


@register
class EqualWeight(Method):
    """The ablation (Sec. IV-E): "we select all pseudo-features and weigh them equally"."""

    name = "equal_weight"
    title = "Equal Weight"
    colour = "#009e73"
    rows = {"III": "Equal Weight"}
    recursive = True

    def weights(self, probabilities, label: int, tau: float):
        return probabilities.new_ones(len(probabilities))
