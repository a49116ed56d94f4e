"""Which of transformers' classes are explained, as what, and why others are not."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

from camcli.errors import SetupError

# scores: what it gives is read as it is, of the picture or of its places. masks: each query gives a mask and a class.
# answers, writes: words go in with the picture.
Role = Literal["scores", "detects", "masks", "matches", "embeds", "answers", "writes"]

_BY_ENDING: dict[str, Role] = {
    "ForImageClassification": "scores",
    "ForSemanticSegmentation": "scores",
    "ForObjectDetection": "detects",
}
_OF_WORDS: dict[str, Role] = {
    "ViltForQuestionAnswering": "answers",
    "VisionEncoderDecoderModel": "writes",
    "BlipForConditionalGeneration": "writes",
    "GitForCausalLM": "writes",
}
_MASKS = ("MaskFormerForInstanceSegmentation", "Mask2FormerForUniversalSegmentation")
# No classifiers of these are in transformers, and yet they are backbones of pictures.
_BACKBONES = ("DINOv3ViT", "DINOv3ConvNext")
_REFUSED = {
    "OneFormerForUniversalSegmentation": "it is told in words what to segment",
    "EomtForUniversalSegmentation": "its processor cuts a picture into pieces and joins their masks",
    "EomtDinov3ForUniversalSegmentation": "its processor cuts a picture into pieces and joins their masks",
    "DetrForSegmentation": "its masks are objects', and no map of classes",
    "ViTMAEModel": "it hides three quarters of a picture by chance",
    "OwlViTForObjectDetection": "it detects what texts say",
    "Owlv2ForObjectDetection": "it detects what texts say",
    "GroundingDinoForObjectDetection": "it detects what texts say",
    "MMGroundingDinoForObjectDetection": "it detects what texts say",
    "OmDetTurboForObjectDetection": "it detects what texts say",
}


def kind_of(transformers: ModuleType, config: Any, name: str) -> tuple[Any, Role]:
    """(the class of transformers that the config names, what it is there for).

    Raises: SetupError: it is none of its own, or none that is explained.
    """
    named = [str(own) for own in getattr(config, "architectures", None) or ()]
    for own in named:
        if own in _REFUSED:
            raise SetupError(f"{name} is a {own}, which is not explained: {_REFUSED[own]}")
        # What gives maps of several stages is a backbone with the same weights.
        whole = f"{own.removesuffix('Backbone')}Model" if own.endswith("Backbone") else own
        kind = getattr(transformers, whole, None)
        if kind is not None and (role := _role(transformers, kind)) is not None:
            return kind, role
    said = ", ".join(named) or f"{config.model_type}, no architecture"
    raise SetupError(
        f"{name} is a {said}: transformers' image classifiers, detectors, segmentation and image-text networks, "
        f"backbones of image classifiers, and {', '.join(_OF_WORDS)} are explained"
    )


def _role(transformers: ModuleType, kind: Any) -> Role | None:
    named: str = kind.__name__
    if named in _MASKS:
        return "masks"
    if named in _OF_WORDS:
        return _OF_WORDS[named]
    if hasattr(kind, "get_text_features"):
        return "matches"
    if (role := next((role for ending, role in _BY_ENDING.items() if ending in named), None)) is not None:
        return role
    family = named.removesuffix("Model")
    if family == named or kind.main_input_name != "pixel_values":
        return None
    classifies = (f"{own}ForImageClassification" for own in (family, family.removesuffix("Vision")))
    known = family in _BACKBONES or any(hasattr(transformers, own) for own in classifies)
    return "embeds" if known else None
