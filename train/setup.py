"""From the command line to a running loop: data, model, optimiser, resuming, faster layers; or --dry-run's summary."""

import argparse
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tevit.checkpoint import empty_model, load_initial, read_checkpoint
from tevit.configs import BUNDLED_MODELS, START_FILES, ModelConfig
from tevit.download import RELEASED, bundled_path, checkpoint_path, optional_package
from tevit.io.files import atomic
from tevit.io.ytvis import open_dataset
from tevit.model.cpu import can_pack, is_intel
from tevit.model.stage import BOX_BINS, MASK_BINS, Stage
from tevit.model.tevit import TeViT
from tevit.video.transforms import STRIDE

from .data import Batch, TrainingData, open_training_data, slot_batch, slot_stream
from .distributed import World, world
from .loop import (
    WEIGHTS,
    Evaluate,
    Loop,
    Step,
    StopRequest,
    TrainingCheckpoint,
    TrainingRun,
    build_optimiser,
    checkpoints,
    compile_model,
    newest,
    restore,
)
from .losses import SlotLoss, Weights
from .recipes import STARTS, Recipe, architecture_values, as_flags, check, model_config
from .report import METRICS, TRACKED, Log, Tracker, evaluate_model, read_lines
from .sources import annotation_file

# --- linear layers for a CPU whose matrix products oneDNN computes faster than MKL

MIN_PRODUCTS = 1 << 22
"""Multiplications of a layer below which the calls from Python cost what its products save."""


def is_faster() -> bool:
    """Whether oneDNN's products are faster than MKL's on this machine: on processors of other vendors than Intel."""
    return can_pack() and not is_intel()


def use_onednn(model: nn.Module) -> None:
    """Compute the linear layers of a model and their gradients by `linear`, in place."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.forward = partial(_forward, layer)


def _forward(layer: nn.Linear, input: Tensor) -> Tensor:
    return linear(input, layer.weight, layer.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, equal to rounding; by oneDNN, where the layer is large, in float32 and outside of autocast."""
    large = x.numel() * len(weight) >= MIN_PRODUCTS
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if large and plain and not torch.is_autocast_enabled("cpu"):
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = grad_outputs
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        return (
            _product(gradient, weight.T) if for_x else None,
            _transposed_product(rows, inputs) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K), (N, K) -> (..., N)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """(R, N), (R, K) -> (N, K)."""
    # The first factor is copied row by row, and the result is faster with fewer rows than columns.
    return _product(a.T, b.T) if a.shape[1] <= b.shape[1] else _product(b.T, a.T).T


# --- the summary of --dry-run

INSTANCES = 4  # per frame, assumed for the mask heads
ROWS = 8  # the cost of a row is measured on so many


def plan(setup: "Setup", args: argparse.Namespace, init: str, world: World) -> str:
    """The command with all values of the recipe, the data, and the memory that each process needs, as text.

    init: what training starts from.
    """
    recipe, data = setup.recipe, setup.data
    left_out = f", {data.missing} frames left out since their files are missing" if data.missing else ""
    clips = recipe.slots * recipe.clips_per_slot
    return "\n".join(
        (
            f"# {recipe.name} on {world.size} process(es), {world.device.type}, with all values written out:",
            command(recipe, args),
            f"data: {setup.annotations}: {len(data)} labelled frames of {len(data.sources)} videos, "
            f"{setup.config.num_classes} classes{left_out}",
            f"epochs: {recipe.iterations * clips / len(data):.1f}, {clips} clips a step",
            f"start: {init}",
            f"evaluation: {setup.evaluation}",
            f"memory of each process: about {memory_bytes(recipe, setup.config) / 1e9:.1f} GB",
        )
    )


def command(recipe: Recipe, args: argparse.Namespace) -> str:
    """The command line that trains with this recipe, to be pasted into a shell."""
    given: list[str] = []
    for name in ("data", "out", "init", "split", "eval_split", "eval_data", "seed", "device"):
        if (value := getattr(args, name)) is not None:
            given.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    given += [f"--{name.replace('_', '-')}" for name in ("init_partial", "skip_missing") if getattr(args, name)]
    return " \\\n    ".join([f"tevit train {recipe.name} {' '.join(given)}", *as_flags(recipe)])


def memory_bytes(recipe: Recipe, config: ModelConfig) -> float:
    """Estimate of the memory of training, bytes: weights, gradients, AdamW's moments and saved activations.

    Activations are measured on the meta device with the recipe's largest frames, those of the heads on a few rows; the
    error is about ten per cent, without the device's own overhead.
    """
    model = empty_model(config, all_masks=True).requires_grad_(True).train()
    weights = 4 * 4 * sum(parameter.numel() for parameter in model.parameters())
    features, stage = _features_bytes(recipe, model), _stage_bytes(recipe, config, model)
    activations = features + config.stages * stage
    if recipe.checkpointing:  # the inputs of each block, and the largest recomputed block
        blocks = sum(config.backbone.depths)
        activations = features / blocks + max(2 * features / blocks, stage)
    return weights + activations * (0.6 if recipe.precision == "bfloat16" else 1.0)


def _features_bytes(recipe: Recipe, model: TeViT) -> float:
    """Saved for the backward pass through backbone and FPN."""
    long, short = (max(sides) for sides in zip(*recipe.scales, strict=True))
    height, width = (-(-side // STRIDE) * STRIDE for side in (short, long))
    frames = torch.empty(1, recipe.frames, 3, height, width, device="meta")
    with saved_bytes(model) as total:
        model.features(frames)
    return recipe.clips_per_slot * sum(total)


def _stage_bytes(recipe: Recipe, config: ModelConfig, model: TeViT) -> float:
    """Saved for the backward pass through one stage with its mask head."""
    stage = cast(Stage, model.stages[0])
    queries = torch.empty(ROWS, config.channels, device="meta", requires_grad=True)
    rows = recipe.clips_per_slot * recipe.frames * config.queries
    masks = recipe.clips_per_slot * recipe.frames * INSTANCES
    with saved_bytes(stage) as box:
        features = torch.empty(ROWS, BOX_BINS**2, config.channels, device="meta", requires_grad=True)
        x = stage.dynamic_out(stage.dynamic(queries, features).flatten(1))
        stage.ffn(stage.attend(x.view(1, 1, ROWS, -1)))
        stage.box_tower(stage.class_tower(x))
    with saved_bytes(stage) as mask:
        assert stage.mask is not None
        features = torch.empty(ROWS, MASK_BINS**2, config.channels, device="meta", requires_grad=True)
        stage.mask(queries, features, torch.zeros(ROWS, dtype=torch.long, device="meta"))
    masks = min(masks, recipe.mask_rows) if recipe.mask_rows else masks
    return (sum(box) * rows + sum(mask) * masks) / ROWS


@contextmanager
def saved_bytes(module: nn.Module) -> Iterator[list[int]]:
    """Bytes of each tensor that the operations inside save for the backward pass, without weights."""
    seen: dict[int, Tensor] = {parameter.untyped_storage()._cdata: parameter for parameter in module.parameters()}
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = tensor  # a reference, so that the address is not reused
            sizes.append(storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


# --- a run


OUT_OF_MEMORY = (
    "out of memory; --checkpointing and --precision bfloat16 need less, so does half of --clips-per-slot with twice "
    "the --slots, and smaller --scales"
)
RUN_FILES = ("checkpoints", "best", "tensorboard", METRICS, "recipe.json", TRACKED, "not-finite-*")  # of --fresh


@dataclass(frozen=True)
class Setup:
    """What is read before anything is written. annotations: the file that is trained on. evaluation: as text."""

    recipe: Recipe
    config: ModelConfig
    data: TrainingData
    annotations: Path
    evaluate: Evaluate | None
    evaluation: str


def start(recipe: Recipe, args: argparse.Namespace) -> int:
    """Train from the first or the last saved iteration; returns the exit code.

    Raises: ValueError, OSError for user errors; MemoryError; FloatingPointError as `Loop.run`.
    """
    with world(args.device) as processes:
        with processes.agreed():
            if args.log_to and processes.is_main:
                optional_package(args.log_to, f"--log-to {args.log_to}", args.log_to)
            setup = read_setup(recipe, args, processes)
            if args.dry_run and processes.is_main:
                print(plan(setup, args, _start_text(setup, args), processes))
        if args.dry_run:
            return 0
        saved = _saved_run(args, processes)
        seed = args.seed if args.seed is not None else int(saved.notes["seed"]) if saved else 0
        with processes.agreed():
            step, optimiser = _build(setup, seed, args, processes, saved)
        recipe = setup.recipe
        if recipe.eval_every and setup.evaluate is None:
            processes.print(f"evaluation: {setup.evaluation}")
        run = TrainingRun(args.out, recipe, step, optimiser, {"seed": seed, "recipe": asdict(recipe)}, setup.evaluate)
        if processes.is_main:
            with atomic(run.folder / "recipe.json") as temporary:
                temporary.write_text(json.dumps(run.notes, indent=2))
        with processes.agreed():
            name: str | None = args.log_to if processes.is_main else None
            tracker = Tracker(name, run.folder, asdict(recipe)) if name else None
        load = partial(slot_batch, setup.data, seed, recipe=recipe)
        return _train(run, saved.iteration if saved else 0, load, tracker)


def read_setup(recipe: Recipe, args: argparse.Namespace, processes: World) -> Setup:
    """Read labels and the checkpoint's architecture. Raises: ValueError, OSError for user errors."""
    if args.out.is_file():
        raise NotADirectoryError(f"--out {args.out}: a file, expected a folder")
    recipe = _match_checkpoint(recipe, args)
    processes.slots(recipe.slots)  # raises where the processes cannot share them
    annotations = annotation_file(args.data, args.split)
    data = open_training_data(annotations, args.data, recipe.task, args.skip_missing)
    config = model_config(recipe, data.categories)
    return Setup(recipe, config, data, annotations, *_evaluation(recipe, args, processes))


def _match_checkpoint(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """With --classes-from-data the architecture is that of a trained --init, unless flags set it."""
    if not recipe.classes_from_data or args.init is None or args.model is not None:
        return recipe
    config, _ = read_checkpoint(init_file(args.init), whole=False)
    if config.name in START_FILES:  # a model of images
        return recipe
    values = architecture_values(config)
    return check(replace(recipe, **{name: value for name, value in values.items() if getattr(args, name) is None}))


def init_file(init: str) -> Path:
    """The file that --init names: itself, or the weights of a model or of a start file by its name.

    Raises: FileNotFoundError that says how to fetch them.
    """
    if Path(init).exists() or (init not in RELEASED and init not in BUNDLED_MODELS):
        return Path(init)
    path = bundled_path(init) if init in BUNDLED_MODELS else checkpoint_path(RELEASED[init])
    if not path.is_file():
        raise FileNotFoundError(f"--init {init}: its weights are not here; `tevit models --get {init}` fetches them")
    return path


def _evaluation(recipe: Recipe, args: argparse.Namespace, processes: World) -> tuple[Evaluate | None, str]:
    """The evaluation, None where there is none, and a text about it.

    Raises: ValueError, OSError where a split that was named cannot be evaluated on.
    """
    if not recipe.eval_every or recipe.task == "image":
        return None, "none" if recipe.eval_every else "none (--eval-every 0)"
    root, named = args.eval_data or args.data, args.eval_split or args.eval_data
    try:
        dataset = open_dataset(annotation_file(root, args.eval_split or "valid"))
        if not dataset.annotations:
            raise ValueError(f"{dataset.path} has no annotations to evaluate by")
        for video_id in dataset.videos:
            dataset.frame_files(video_id, root)  # a missing frame is an error now, not after an hour
    except (ValueError, OSError) as error:
        if named:
            raise ValueError(f"{error}; --eval-every 0 trains without evaluation") from None
        return None, f"none: {error}; --eval-split names another split"
    text = f"every {recipe.eval_every} iterations on {dataset.path}: {len(dataset.videos)} videos"
    return lambda model, stopping: evaluate_model(model, dataset, root, processes, stopping), text


def _start_text(setup: Setup, args: argparse.Namespace) -> str:
    """What a run would start from, for --dry-run."""
    saved = checkpoints(args.out)
    if saved and not args.fresh:
        return f"resumes from {saved[-1][1]}"
    return _initialise(TeViT(setup.config), setup.recipe, args)


def _initialise(model: TeViT, recipe: Recipe, args: argparse.Namespace) -> str:
    """Load --init; returns what was loaded, or that values are random. Raises: as `load_initial`."""
    if args.init is None:
        if recipe.name not in STARTS:
            return "random weights"
        return f"random weights (warning: {recipe.name} fine-tunes, expected --init: {STARTS[recipe.name]})"
    path = init_file(args.init)
    report = load_initial(model, path)
    if 2 * len(report.loaded) < report.total and not args.init_partial:
        raise ValueError(f"--init {path} fills less than half of the model: {report}; --init-partial accepts that")
    return f"{path} fills {report}"


def _saved_run(args: argparse.Namespace, processes: World) -> TrainingCheckpoint | None:
    """The newest checkpoint in the run's folder, which --fresh empties first."""
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0  # by torchrun, with the same --fresh
    if args.fresh and processes.is_main and not restarted:
        for name in RUN_FILES:
            for item in args.out.glob(name):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
    processes.barrier()
    return newest(args.out)


def _build(
    setup: Setup, seed: int, args: argparse.Namespace, processes: World, saved: TrainingCheckpoint | None
) -> tuple[Step, torch.optim.Optimizer]:
    recipe = setup.recipe
    torch.manual_seed(seed)
    model = TeViT(setup.config)
    if saved is None:
        processes.print(f"start: {_initialise(model, recipe, args)}")
    model.to(processes.device)
    optimiser = build_optimiser(model, recipe)
    if saved is not None:
        restore(saved, model, setup.config, optimiser)
        before, now = saved.notes["recipe"], json.loads(json.dumps(asdict(recipe)))
        changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
        processes.print(f"resuming from {saved.path}" + ("; changed: " + ", ".join(changed) if changed else ""))
    if recipe.compile:
        compile_model(model)
    elif processes.device.type == "cpu" and is_faster():
        use_onednn(model)
    weights = Weights(recipe.class_weight, recipe.l1_weight, recipe.giou_weight, recipe.dice_weight)
    module = SlotLoss(model, weights, recipe.mask_rows, recipe.checkpointing)
    return Step(module, recipe, seed, processes), optimiser


def _train(run: TrainingRun, done: int, load: Callable[[int, int], Batch], tracker: Tracker | None) -> int:
    """load: load(iteration, slot) -> batch. Returns the exit code; the last line says where the model is."""
    recipe, processes = run.recipe, run.step.world
    with StopRequest() as stop, Log(run.folder, done, recipe.iterations, processes.is_main, tracker) as log:
        loop, iterations = Loop(run, done, log, stop), range(done, recipe.iterations)
        slots = processes.slots(recipe.slots)
        try:
            done = loop.run(slot_stream(load, iterations, slots, recipe.workers, loop.check))
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise MemoryError(OUT_OF_MEMORY) from error
        if done < recipe.iterations:
            log.message(f"stopped after {done} of {recipe.iterations} iterations; the same command resumes")
            return 128 + stop.signum
        log.message(_model_text(run.folder, done))
        return 0


def _model_text(folder: Path, done: int) -> str:
    """Where the model of a finished run is, and the best one of its evaluations."""
    last, best = folder / "checkpoints" / str(done) / WEIGHTS, folder / "best" / WEIGHTS
    evaluations = [line for line in read_lines(folder / METRICS) if line["kind"] == "eval"]
    if not evaluations or not best.is_file():
        return f"the model: {last}"
    top = max(evaluations, key=lambda line: (line["AP"], line["iteration"]))
    return f"the model: {best} (AP {top['AP']:.1f}, iteration {top['iteration']}); the last one: {last}"
