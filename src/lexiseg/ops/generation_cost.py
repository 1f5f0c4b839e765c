"""What it takes to generate reference pictures for a vocabulary, before anyone starts."""

from dataclasses import dataclass

from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class GenerationCost:
    """Work of generating the references of a vocabulary; exact unless pictures are rejected and redrawn.

    Attributes:
        pictures: Pictures in all.
        steps: Denoising steps in all.
        passes: Passes through the denoiser: two a step with guidance.
    """

    pictures: int
    steps: int
    passes: int


def generation_cost(
    num_classes: int, *, pictures_per_class: int = 50, steps_per_picture: int = 50, guided: bool = True
) -> GenerationCost:
    """Count pictures, steps and passes. Linear in the classes: one more costs only its own pictures.

    Args:
        num_classes: Classes to generate, without those a bank already has.
        pictures_per_class: 50 in the paper (RIM, CVPR 2024, supplement).
        steps_per_picture: 50 in the paper.
        guided: With classifier-free guidance, which needs a second pass without the words.

    Raises:
        InputError: A number is below zero.
    """
    if min(num_classes, pictures_per_class, steps_per_picture) < 0:
        raise InputError(
            doing="counting the work of generating pictures",
            found=f"{num_classes} classes, {pictures_per_class} pictures, {steps_per_picture} steps",
            expected="numbers of zero or more",
            fix="Correct the negative one.",
        )
    pictures = num_classes * pictures_per_class
    steps = pictures * steps_per_picture
    return GenerationCost(pictures=pictures, steps=steps, passes=steps * (2 if guided else 1))
