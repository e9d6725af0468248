"""Matching and losses against their definitions, written out one pair at a time; and where the original fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from tests.train import tiny
from train.data import Batch, ClipTarget
from train.losses import SlotLoss, Targets, batch_targets, clip_cost, count_positives, gather, giou, mask_targets, match

CPU = torch.device("cpu")


def losses(batch: Batch, positives: float | None = None, **options) -> dict[str, float]:
    """All losses of a batch with the tiny model."""
    model = tiny.model(config=tiny.STEADY)
    count = count_positives(batch.targets, tiny.CONFIG.queries) if positives is None else positives
    return {key: loss.item() for key, loss in SlotLoss(model, tiny.WEIGHTS, **options)(batch, count).items()}


def with_target(batch: Batch, target: ClipTarget) -> Batch:
    """The batch with another ground truth for its first clip."""
    return replace(batch, targets=[target, *batch.targets[1:]])


def clip_targets(target: ClipTarget, size_hw: torch.Tensor) -> list[Targets]:
    """The ground truth of a single clip as tensors."""
    return batch_targets(Batch(torch.zeros(1), size_hw[None], [target]))


def without(target: ClipTarget, present: np.ndarray) -> ClipTarget:
    """The target with other presences; what is absent has no box and no mask."""
    boxes = target.boxes_xyxy * present[..., None]
    return replace(target, present=present, boxes_xyxy=boxes, masks=target.masks * present[..., None, None])


def literal_giou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union - (hull - union) / hull


def literal_cost(logits: np.ndarray, boxes: np.ndarray, target: ClipTarget, query: int, instance: int) -> float:
    """Mean over the frames that an instance is in of 2 focal + 5 L1 - 2 GIoU."""
    height, width = tiny.SIZE
    costs = []
    for time in np.flatnonzero(target.present[:, instance]):
        p = 1 / (1 + math.exp(-logits[time, query, target.labels[instance]]))
        focal = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
        box, truth = boxes[time, query], target.boxes_xyxy[time, instance]
        l1 = (np.abs(box - truth) / (width, height, width, height)).sum()
        costs.append(2 * focal + 5 * l1 - 2 * literal_giou(box.tolist(), truth.tolist()))
    return float(np.mean(costs))


def test_one_query_for_an_instance_in_the_whole_clip_by_the_mean_cost_of_its_frames():
    batch = tiny.batch(1, 1)
    output = tiny.model()(batch.frames, batch.sizes_hw)[0]
    logits, boxes = output.logits.detach(), output.boxes_xyxy.detach() + torch.randn(1, 3, 6, 4)
    target = batch.targets[0]
    assert not target.present.all(), "the case must have an absent instance"
    expected = [
        [
            literal_cost(logits[0].double().numpy(), boxes[0].double().numpy(), target, query, number)
            for number in range(len(target.ids))
        ]
        for query in range(6)
    ]
    targets = clip_targets(target, batch.sizes_hw[0])
    np.testing.assert_allclose(clip_cost(logits[0], boxes[0], targets[0], tiny.WEIGHTS), expected, rtol=1e-4, atol=1e-4)
    ((queries, instances),) = match(logits, boxes, targets, tiny.WEIGHTS)
    for actual, true_box in zip((queries, instances), linear_sum_assignment(np.array(expected)), strict=True):
        assert actual.tolist() == true_box.tolist()


def test_a_matched_query_is_background_where_its_instance_is_absent():
    target = tiny.target(np.random.default_rng(0), 3, 2)
    present = np.array([[True, True], [False, True], [True, False]])
    targets = clip_targets(without(target, present), torch.tensor(tiny.SIZE))
    actual = gather(torch.zeros(1, 3, 6, 4), targets, [(torch.tensor([1, 4]), torch.tensor([1, 0]))])
    assert actual.rows.tolist() == [0 * 6 + 1, 0 * 6 + 4, 1 * 6 + 1, 2 * 6 + 4]
    assert actual.masks.tolist() == [1, 0, 3, 4]


def test_losses_by_their_definitions():
    batch = tiny.batch(2, 0, clips=2)
    model = tiny.model(config=tiny.STEADY)
    outputs = model(batch.frames, batch.sizes_hw)
    actual = losses(batch, positives=3.5)
    targets = batch_targets(batch)
    for stage, output in enumerate(outputs):
        focal = l1 = overlap = 0.0
        matches = match(output.logits, output.boxes_xyxy, targets, tiny.WEIGHTS)
        for clip, (queries, instances) in enumerate(matches):
            truth = batch.targets[clip]
            owner = dict(zip(queries.tolist(), instances.tolist(), strict=True))
            for time in range(3):
                for query in range(6):
                    number = owner.get(query)
                    positive = number is not None and truth.present[time, number]
                    for label, logit in enumerate(output.logits[clip, time, query].tolist()):
                        p = 1 / (1 + math.exp(-logit))
                        hit = positive and label == truth.labels[number]
                        focal += -0.25 * (1 - p) ** 2 * math.log(p) if hit else -0.75 * p**2 * math.log(1 - p)
                    if positive:
                        box, true_box = (
                            output.boxes_xyxy[clip, time, query].tolist(),
                            truth.boxes_xyxy[time, number].tolist(),
                        )
                        l1 += sum(abs(a - b) / side for a, b, side in zip(box, true_box, (96, 64, 96, 64), strict=True))
                        overlap += 1 - literal_giou(box, true_box)
        assert actual[f"stage{stage}_class"] == pytest.approx(2 * focal / 3.5, rel=1e-4)
        assert actual[f"stage{stage}_l1"] == pytest.approx(5 * l1 / 3.5, rel=1e-4)
        assert actual[f"stage{stage}_giou"] == pytest.approx(2 * overlap / 3.5, rel=1e-4)


def test_a_frame_without_any_instance_is_background():
    batch = tiny.batch(0, 0)
    present = batch.targets[0].present.copy()
    present[1] = False
    actual = losses(with_target(batch, without(batch.targets[0], present)))
    assert all(math.isfinite(loss) for loss in actual.values())


def test_a_batch_without_any_instance_has_a_loss_of_its_classes_alone_and_all_gradients():
    batch = tiny.batch(0, 0)
    target = batch.targets[0]
    nothing = ClipTarget(
        target.labels[:0], target.ids[:0], target.boxes_xyxy[:, :0], target.present[:, :0], target.masks[:, :0]
    )
    step = tiny.run(tiny.Path(), replace(tiny.RECIPE, slots=1)).step
    actual = step.gradients(0, [(0, with_target(batch, nothing))])
    assert all(0 < loss.item() < 100 if key.endswith("class") else loss.item() == 0 for key, loss in actual.items())
    assert all(parameter.grad is not None for parameter in step.model.parameters())
    tracked = [buffer for name, buffer in step.model.named_buffers() if name.endswith("num_batches_tracked")]
    assert not any(tracked), "no rows, no statistics"


def test_more_instances_than_queries_are_left_unmatched():
    numbers = np.random.default_rng(4)
    target = tiny.target(numbers, 3, 8)
    target = without(target, np.ones((3, 8), bool) & (target.boxes_xyxy[..., 2] > 0))
    batch = with_target(tiny.batch(0, 0), target)
    assert count_positives([target], 6) == np.sort(target.present.sum(0))[2:].sum()
    assert all(math.isfinite(loss) for loss in losses(batch).values())


def test_losses_of_the_slots_add_up_to_those_of_the_whole_batch(tmp_path):
    whole = tiny.batch(1, 0, clips=4)
    parts = [Batch(whole.frames[i : i + 1], whole.sizes_hw[i : i + 1], whole.targets[i : i + 1]) for i in range(4)]
    steps = [tiny.run(tmp_path, replace(tiny.RECIPE, slots=count), config=tiny.STEADY).step for count in (4, 1)]
    four, one = steps[0].gradients(0, list(enumerate(parts))), steps[1].gradients(0, [(0, whole)])
    for key in one:
        if not key.endswith("dice"):  # batch norm goes by its own slot
            assert four[key].item() == pytest.approx(one[key].item(), rel=1e-4), key


def test_mask_targets_are_what_the_refined_box_shows_clipped_to_the_padded_frame():
    target = tiny.target(np.random.default_rng(1), 1, 1)
    masks = np.zeros_like(target.masks)
    masks[0, 0, :, :48] = 1
    targets = clip_targets(replace(target, present=np.ones((1, 1), bool), masks=masks), torch.tensor(tiny.SIZE))
    actual = gather(torch.zeros(1, 1, 6, 4), targets, [(torch.tensor([0]), torch.tensor([0]))])
    whole = mask_targets(torch.tensor([[-500.0, -500.0, 500.0, 500.0]]), targets, actual)[0]
    assert whole[:, :14].eq(1).all() and whole[:, 14:].eq(0).all()
    left = mask_targets(torch.tensor([[0.0, 0.0, 56.0, 64.0]]), targets, actual)[0]
    assert left[:, :24].eq(1).all() and left[:, 24:].eq(0).all()


def test_drawn_mask_rows_stand_for_all():
    batch = tiny.batch(5, 0, clips=3)
    everything = losses(batch)
    draws = []
    for seed in range(12):
        model = tiny.model(config=tiny.STEADY)
        torch.manual_seed(seed)
        actual = SlotLoss(model, tiny.WEIGHTS, mask_rows=6)(batch, count_positives(batch.targets, 6))
        draws.append(actual["stage0_dice"].item())
        assert actual["stage0_class"].item() == pytest.approx(everything["stage0_class"])
    assert len(set(draws)) > 6
    assert np.mean(draws) == pytest.approx(everything["stage0_dice"], rel=0.05)


def test_giou_of_boxes_apart_and_alike():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 2.0, 4.0, 4.0]])
    assert giou(boxes, boxes).tolist() == pytest.approx([1, 1])
    assert giou(boxes[:1], boxes[1:]).item() == pytest.approx(-0.5)


@pytest.mark.parametrize("options", [{"checkpointing": True}, {}])
def test_recomputed_activations_and_mixed_precision_give_the_same_losses(options):
    batch = tiny.batch(0, 1)
    expected = losses(batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=not options):
        actual = losses(batch, **options)
    assert actual == pytest.approx(expected, rel=1e-6 if options else 0.1)
