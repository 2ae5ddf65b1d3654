"""The card that goes with exported weights."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pymatgen.core import Element

from matminer_unate.network.weights import weights_config
from pretraining.config import PretrainConfig
from pretraining.pretrainer import OBJECTIVES

TEACHER_SAW = {
    "CHGNet": """ CHGNet was trained on energies, forces, stresses and magnetic moments of 1.58
million structures on the relaxation paths of the Materials Project (Deng et al., Nature Machine
Intelligence 5, 1031, 2023), whatever their formula: crystals of held-out formulas are among them,
band gaps are not.""",
}
"""What labels a teacher has learned from, for the card."""


PARTS = {"train": "80 %", "val": "10 %", "test": "10 %"}
"""Of all formulas."""


def inherited(start_from: str) -> dict[str, Any]:
    """What else the weights that a run goes on from have seen: their teacher, and their parts."""
    if not start_from:
        return {}
    before = weights_config(start_from).training
    run, config = before.get("run", {}), before.get("config", {})
    found: dict[str, Any] = {}
    taught = config.get("weights", {}).get("teacher")
    if run.get("start_teacher") or run.get("teacher") or taught:
        found["start_teacher"] = run.get("start_teacher") or run.get("teacher", "a teacher")
    # Weights that do not say what they have seen may have seen all.
    found["start_parts"] = sorted({*run.get("start_parts", ()), config.get("part", "all")})
    return found


def _about_parts(config: PretrainConfig, seen_before: Sequence[str]) -> tuple[str, str]:
    """Which formulas a run read, and which neither it nor the weights before have seen."""
    before, own = set(seen_before) - {config.part}, f"formulas of the part `{config.part}` only"
    if config.part == "all":
        return "all formulas", "No formula was held out."
    left = [part for part in PARTS if part not in {config.part, *before}]
    if "all" in before or not left:
        return (
            own,
            """**No formula was held out** by the weights that this run went on
from, whatever part it read itself.""",
        )
    shares = ", ".join(f"`{part}` {share}" for part, share in PARTS.items())
    if not before:
        return (
            own,
            f"""Formulas of the other parts ({shares}; sha256 of
the formula mod 100) were held out, whatever file they are in.""",
        )
    (other,) = before
    return (
        own,
        f"""Formulas of the part `{left[0]}` ({shares}; sha256 of the formula mod 100) were
held out, whatever file they are in; the weights that this run went on from had seen those of
`{other}`.""",
    )


def _about_excluded(config: PretrainConfig) -> str:
    if not config.exclude_formulas:
        return ""
    told = f" The formulas in `{Path(config.exclude_formulas).name}` were left out"
    if config.start_from:
        return f"{told} of this run; the weights that it went on from may have seen them."
    return f"{told}, too."


def model_card(config: PretrainConfig, training: dict[str, Any], counts: dict[int, int]) -> str:
    """Markdown card of a run, with ``{sha256}`` left for the writer to fill in."""
    teacher = training["run"].get("teacher", "a teacher")
    e, run = config.encoder, training["run"]
    rare = ", ".join(Element.from_Z(z).symbol for z, n in counts.items() if n < 20) or "none"
    part, held_out = _about_parts(config, run.get("start_parts", ()))
    held_out += _about_excluded(config)
    sources = "\n".join(f"- `{Path(d).name}`" for d in config.data)
    losses = ", ".join(f"{k} {v:g}" for k, v in dataclasses.asdict(config.weights).items() if v)
    balanced = " on losses of equal gradient norm" * bool(config.balance_every)
    hours = run["wall_s"] / 3600
    active = [o for name, o in OBJECTIVES.items() if getattr(config.weights, name)]
    rebuilt = ", ".join(dict.fromkeys(o.gives_back for o in active if o.gives_back))
    contrast = " and two corrupted views of a crystal are contrasted" * (
        config.weights.contrastive > 0
    )
    element_input = """Magpie's table of element properties (radius, electronegativity, valence, …
and the volume, gap and moment of the elements' own ground states) is an input beside the species.
""" * bool(e.n_properties)
    pretrained = "pretrained without any property label:"
    labels = "No property of any crystal, measured or computed by DFT, was used."
    if config.weights.tight_binding or config.weights.tight_binding_crystal:
        labels += """ The tight-binding model (`matminer_unate/physics/tight_binding.py`) that
pretraining learns from is made from free atoms alone, by a solver of its own; its gaps are not
those of DFT."""
    if config.weights.teacher:
        pretrained = "pretrained as the student of another model:"
        labels = f"""**The student of a teacher:** site vectors of {teacher} were regressed from
corrupted crystals beside the other tasks (weight {config.weights.teacher:g}), so what the teacher
was trained on has reached these weights.{TEACHER_SAW.get(teacher.split()[0], "")}"""
    elif former := run.get("start_teacher"):
        pretrained = "pretrained from weights that were the student of another model:"
        labels = f"""**The student of a teacher:** the weights that this run went on from had
learned the site vectors of {former}, so what the teacher was trained on has reached these
weights.{TEACHER_SAW.get(former.split()[0], "")}"""
    started = ""
    if config.start_from:
        started = f""" It went on from the weights {run["start_from"]}, and has seen what these have
seen; their elements are counted."""
    text = f"""# UNATE weights `{config.name}`

**What it is.** A CartNet site encoder ({e.geometry} directions, width {e.width}, {e.n_layers}
layers, cutoff {e.cutoff} Å, latent {e.latent_dim}), {pretrained}
corrupted crystals are reconstructed ({rebuilt}){contrast}. Its site vectors, pooled, are columns
for small regressors.

**Seen in pretraining.** {training["n_crystals"]:,} crystals ({training["n_sites"]:,} sites, at most
{config.max_sites} a cell), deduplicated, {part}, from

{sources}

{labels} {element_input}
{held_out}{started}

**Elements.** {len(counts)} elements; fewer than 20 sites of: {rare}. An element that is not among
them is read as a masked one, with a warning.

**How it was made.** `python training/pretrain.py --name {config.name} …`, settings in
`config.json`: {config.epochs} epochs, {run["steps"]:,} steps on {run["processes"]} process(es)
({run["device"]}), {hours:.2f} h; loss weights {losses}{balanced}; seed {config.seed}; torch
{training["torch"]}, Python {training["python"]}, {training["date"]}.

**Limits.** Bulk inorganic crystals near their relaxed geometry. Molecules, surfaces and strongly
distorted structures are outside of what it has seen. Nothing beyond {config.encoder.n_layers} ×
{e.cutoff} Å reaches a site.

{config.data_statement or "**Data.** Licence and citation were not stated for this run."}

**File.** `model.safetensors`, sha256 `{{sha256}}`.
"""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(map(_fill, paragraphs)) + "\n"


def _fill(paragraph: str) -> str:
    """Break the lines of a paragraph anew; headings and lists stay as they are."""
    return paragraph if paragraph[0] in "#-" else textwrap.fill(paragraph, 100)
