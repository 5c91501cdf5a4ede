"""The steps that a recipe may name, and what each one does: the catalog of degradations."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ganray.degradation.atmosphere import Haze, LowContrast, haze, low_contrast
from ganray.degradation.blur import Blur, Defocus, Motion, Sinc, blur, defocus, motion, sinc
from ganray.degradation.compression import Jpeg, Quantise, jpeg, quantise
from ganray.degradation.damage import Damage
from ganray.degradation.dose import LowDose, low_dose
from ganray.degradation.draws import Draws
from ganray.degradation.film import Flicker, Grain, Interlace, flicker, grain, interlace
from ganray.degradation.noise import Noise, Shot, Speckle, add_noise
from ganray.degradation.resample import Resample, Rescale

PixelStep = (
    Blur | Motion | Defocus | Sinc
    | Noise | Shot | Speckle | Grain | LowDose
    | Jpeg | Quantise
    | Haze | LowContrast | Flicker | Interlace
)  # fmt: skip
"""Steps that keep an image's size and all of its content."""
SizeStep = Resample | Rescale
Step = Annotated[PixelStep | SizeStep | Damage, Field(discriminator="kind")]


def probability_of(step: PixelStep | Damage) -> float:
    """How often a step happens; rounding always does."""
    return 1.0 if isinstance(step, Quantise) else step.probability


def change(pixels_BCHW: Tensor, step: PixelStep, draws: Draws, zoom: float) -> Tensor:
    """Apply one step to all images; `zoom` are pixels here per pixel of the degraded image."""
    match step:
        case Blur():
            return blur(pixels_BCHW, step, draws, zoom)
        case Motion():
            return motion(pixels_BCHW, step, draws, zoom)
        case Defocus():
            return defocus(pixels_BCHW, step, draws, zoom)
        case Sinc():
            return sinc(pixels_BCHW, step, draws)
        case Noise() | Shot() | Speckle():
            return add_noise(pixels_BCHW, step, draws)
        case Grain():
            return grain(pixels_BCHW, step, draws, zoom)
        case LowDose():
            return low_dose(pixels_BCHW, step, draws, zoom)
        case Jpeg():
            return jpeg(pixels_BCHW, step, draws)
        case Quantise():
            return quantise(pixels_BCHW, step)
        case Haze():
            return haze(pixels_BCHW, step, draws, zoom)
        case LowContrast():
            return low_contrast(pixels_BCHW, step, draws)
        case Flicker():
            return flicker(pixels_BCHW, step, draws)
        case Interlace():
            return interlace(pixels_BCHW, step, draws)
