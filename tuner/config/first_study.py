"""The study YAML that `tuner init` writes: every line explained, to be edited afterwards.

The one rule: each number stands beside the reason for it, and what is an assumption says so.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from string import Template

from tuner.config.model_sizes import BYTE_VOCAB_SIZE

COMMENT_COLUMN = 26
NUM_EVALUATED = 128
"""Examples of the training sample, and of validation at most: a look at the curve that a small study can pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model with a batch that trains it, and the floating-point operations a second that we assume for its machine.

    Speeds of the CPU are what one core of a small cloud machine did beside another; GPU sizes are named starting
    points, and their speeds a guess at a third of such a card's fp16 peak.
    """

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    block_size: int
    global_batch_size: int
    micro_batch_size: int
    gpu_gigabytes: int = 0
    flops_per_second: float
    lowest_rate: float
    highest_rate: float

    @property
    def num_parameters(self) -> int:
        """Weights of the transformer blocks and the embeddings, about."""
        return 12 * self.num_layers * self.hidden_size**2 + (BYTE_VOCAB_SIZE + self.block_size) * self.hidden_size

    @property
    def seconds_per_update(self) -> float:
        """6 operations per parameter and token (arXiv:2001.08361) and 5 ms of overhead: not measured here."""
        tokens = self.global_batch_size * self.block_size
        return 0.005 + 6 * self.num_parameters * tokens / self.flops_per_second

    @property
    def seconds_per_evaluation(self) -> float:
        """2 operations per parameter and token, of the training sample and twice (averages) of validation."""
        return 2 * self.num_parameters * 3 * NUM_EVALUATED * self.block_size / self.flops_per_second


CPU_SMALL = Size(
    name="small (CPU)",
    hidden_size=64,
    num_layers=2,
    num_heads=2,
    block_size=64,
    global_batch_size=8,
    micro_batch_size=8,
    flops_per_second=1.5e10,
    lowest_rate=5e-4,
    highest_rate=8e-3,
)
CPU_LARGER = Size(
    name="larger (CPU)",
    hidden_size=128,
    num_layers=4,
    num_heads=4,
    block_size=128,
    global_batch_size=16,
    micro_batch_size=16,
    flops_per_second=2.5e10,
    lowest_rate=3e-4,
    highest_rate=5e-3,
)


def _gpu(gigabytes: int, layers: int, *, name: str, positions: int, micro: int, flops: float) -> Size:
    return Size(
        name=name,
        hidden_size=64 * layers,
        num_layers=layers,
        num_heads=layers,
        block_size=positions,
        global_batch_size=16,
        micro_batch_size=micro,
        gpu_gigabytes=gigabytes,
        flops_per_second=flops,
        lowest_rate=1e-4,
        highest_rate=3e-3,
    )


GPU_SIZES = (
    _gpu(12, 12, name="gpu-large", positions=2048, micro=8, flops=4e13),
    _gpu(8, 8, name="gpu-8gb", positions=1024, micro=4, flops=1e13),
    _gpu(6, 6, name="gpu-6gb", positions=1024, micro=2, flops=5e12),
    _gpu(4, 4, name="gpu-4gb", positions=512, micro=1, flops=3e12),
)
"""Largest first; width is 64 per layer and a head per layer, the MLP four times as wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStudy:
    """What the template is filled with.

    `follow_loss` is the loss, in nats per byte, of guessing each byte from the one before it, on this text; `hours` cap
    the study, None if nobody named any; `max_adjustments` are the doublings of round 1's budget.
    """

    name: str
    text: str
    text_column: str | None
    num_pieces: int
    architecture: str
    size: Size
    block_size: int
    max_steps: int
    follow_loss: float
    at_most: float
    cost: str
    hours: float | None = None
    max_adjustments: int = 1


def first_study_yaml(study: FirstStudy) -> str:
    """The whole file."""
    size = study.size
    text = _TEMPLATE.substitute(
        name=scalar(study.name),
        command=shlex.quote(study.name),
        cost=study.cost,
        text=scalar(study.text),
        extra_text=_extra_text(study),
        limits=_LIMITS.substitute(hours=f"{study.hours:g}") if study.hours is not None else _NO_LIMITS,
        num_evaluated=NUM_EVALUATED,
        max_adjustments=study.max_adjustments,
        adjust=_ADJUST_BY_RAW if study.hours is None else _ADJUST_BY_PROBE,
        while_hours="; the trials go on from where they were" if study.hours is None else " and while hours are left",
        without_fit="there is no answer, and it says so" if study.hours is None else "the hours set the length",
        too_low=_TOO_LOW if study.hours is None else _TOO_LOW_WITHIN_HOURS,
        architecture=study.architecture,
        size=size.name,
        hidden_size=size.hidden_size,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        block_size=study.block_size,
        global_batch_size=size.global_batch_size,
        precision="fp16" if size.gpu_gigabytes else "fp32",
        first_guess_steps=max(250, study.max_steps // 10),
        max_steps=study.max_steps,
        follow_loss=f"{study.follow_loss:.2f}",
        at_most=f"{study.at_most:.2f}",
        low=f"{size.lowest_rate:g}",
        high=f"{size.highest_rate:g}",
        search_low=f"{1.5 * size.lowest_rate:.2g}",
        search_high=f"{size.highest_rate / 1.5:.2g}",
        device="cuda" if size.gpu_gigabytes else "auto",
        micro_batch_size=size.micro_batch_size,
    )
    return "".join(_aligned(line) for line in text.splitlines(keepends=True))


def _aligned(line: str) -> str:
    """A setting's line with its comment in one column, where it fits."""
    found = None if line.startswith("#") else re.fullmatch(r"(.*\S) {2,}# ([^#]*)", line, flags=re.DOTALL)
    return line if found is None else f"{found[1]:<{COMMENT_COLUMN}}  # {found[2]}"


def scalar(text: str) -> str:
    """Text as a YAML value: quoted unless it is plainly a word or a path."""
    is_plain = re.fullmatch(r"[A-Za-z_./][\w./:-]*", text, flags=re.ASCII) and ": " not in text
    words = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan")
    is_word = text.lower() not in words and not text.endswith(":")
    return text if is_plain and is_word else json.dumps(text)


def _extra_text(study: FirstStudy) -> str:
    lines = ""
    if study.text_column is not None:
        lines += f"  text_column: {scalar(study.text_column)}  # the column that holds the text; one document per row\n"
    if study.num_pieces > 1:
        lines += (
            "  # Whole documents go to training, validation or test, and so few files cannot be shared out:\n"
            f"  num_pieces: {study.num_pieces}  # each file is cut at line ends into so many documents\n"
        )
    return lines


_LIMITS = Template("""\
limits:                     # a hard cap: what does not fit is cut, seeds first, then points, and it says so
  study_hours: $hours  # the hours you gave, interruptions not counted; at their end the best so far is the answer
""")
_NO_LIMITS = """\
# limits: {study_hours: 4}  # a hard cap, if you want one: what does not fit is cut, and it says so
"""

_ADJUST_BY_RAW = "adjust: raw  # if nearly all trials were best at their very end, the budget was too short ..."
_ADJUST_BY_PROBE = "adjust: probe  # five trials go on to twice the steps; if they gain, the budget was too short ..."

_TOO_LOW = """\
  # for max_steps, and the study ends without an answer and says what would help.
"""
_TOO_LOW_WITHIN_HOURS = """\
  # for max_steps, and longer runs are taken to help for ever: what is left of the hours sets the length then.
"""

_TEMPLATE = Template("""\
# A first study: how many steps should this model train for, and which settings are worth it?
#
#   tuner check $command.yaml     what would it run?
#   tuner run $command.yaml       run it; Ctrl-C saves everything, the same command goes on
#   tuner report $command         the answer with its evidence
#   tuner export $command DIR     the best model as a folder that transformers opens
#
$cost
study: $name                # the study's name in every other command

workload:
  kind: causal_lm           # a language model trained from scratch
  text: $text               # what it learns: files and globs relative to this file; one document each
$extra_text\
  tokenizer: bytes          # 256 byte values and an end-of-document token: works for every language
  block_size: $block_size            # bytes per training example, and so the longest context
  model:                    # size: $size; a larger one needs more steps and more time for each
    architecture: $architecture  # family of the model
    hidden_size: $hidden_size         # width; must divide by num_heads
    num_layers: $num_layers           # transformer blocks
    num_heads: $num_heads            # attention heads
  split:
    validation: 0.1         # share of the documents that choose the best settings and steps
    test: 0.1               # share that is looked at once, at the very end

training:
  optimizer: adamw  # what turns gradients into updates
  global_batch_size: $global_batch_size     # examples per update; not tuned: with another one the steps change too
  max_grad_norm: 1.0        # longer gradients are scaled down to this; saves runs that a bad batch would spoil
  weight_decay: 0.01        # pulls weights towards zero, a mild guard against overfitting
  precision: $precision           # fp32 everywhere; fp16 and bf16 are faster on GPUs

evaluation:
  metric: loss              # what "best" means: mean negative log likelihood per byte on the validation documents
  train_sample: $num_evaluated         # training examples in each look at the training loss ...
  max_validation_examples: $num_evaluated   # ... and validation examples: each example scores $block_size bytes
  averaged_horizons: [50]   # weights averaged over so many updates are scored beside the weights; []: none

budget:
  first_guess_steps: $first_guess_steps    # the sweep starts with so many updates and doubles them until one rate fits
  max_steps: $max_steps          # the sweep's longest run: without a fit by then $without_fit
  # When does a run count as having fitted its training data? Only you can say for a language model; this line decides
  # how long the sweep, and so everything after it, trains. On this text, guessing each byte from the one before it has
  # a loss of $follow_loss; the default asks for 85 % of that. Lower it for a better model and a longer study. Too low
$too_low\
  perfect_fit: {metric: loss, at_most: $at_most}

$limits
budget_sweep:               # phase 1: constant rates race to perfect_fit; the steps of the fastest are the budget
  learning_rates: {low: $low, high: $high, num_rates: 5}   # log-spaced; the winner must not lie on an edge ...
  max_widenings: 2          # ... else the grid grows past it, at most so often

search_space:               # what phase 2 searches; the number of steps is never in here, it is what the study derives
  learning_rate: {low: $search_low, high: $search_high, scale: log}  # the rate of the plateau
  dropout: {low: 0.0, high: 0.2}   # share of activations dropped in training: helps once a model overfits

round_1:                    # phase 2: many short trials at the budget; where their best steps fell judges the budget
  num_trials: 6             # below 5 the budget cannot be judged
  widen_at_edge: false      # true: more points, once, if the best rate lies on an edge of its range
  $adjust
  max_adjustments: $max_adjustments        # ... and is doubled, at most so often$while_hours
  decay_shares: []          # do not tune the length of the decay anew after that; [0.1, 0.2, 0.4] would

round_2:                    # phase 3: the best points again, longer: does what held in short runs still hold?
  num_trials: 2  # so many of the best points
  num_seeds: 2              # the same point twice, to know how much of a difference is luck
  budget_multiple: auto     # 2 x round 1's budget if longer may still gain, else 1 x; all that the hours buy if no fit
  lower_rate_twin: false    # true: the best point also at half its rate, as long runs often want

execution:                  # how it is carried out; may be changed at any time
  device: $device              # auto: a CUDA GPU if there is one; cuda: refuse to run without; cpu
  micro_batch_size: $micro_batch_size       # examples per forward pass; if memory runs out, halve it
  workers: auto             # trials in parallel: one per CPU core, or one per GPU
""")
