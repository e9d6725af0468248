// Seeking: frames and presentation times that are not evenly spaced.

import assert from "node:assert/strict";
import { test } from "node:test";

import { clampFrame, formatTime, frameAt, frameOfTimestamp, middleOf } from "../../app/static/player/times.js";

const TIMES = [0, 0.04, 0.073, 0.074, 0.14, 0.173, 0.7, 0.733], END = 0.8;

test("a frame begins at its time and lasts until the next one", () => {
  TIMES.forEach((time, frame) => {
    assert.equal(frameAt(TIMES, time), frame);
    assert.equal(frameAt(TIMES, time - 1e-9), Math.max(0, frame - 1));
  });
  assert.equal(frameAt(TIMES, -1), 0);
  assert.equal(frameAt(TIMES, 100), TIMES.length - 1);
  assert.equal(frameAt([0.5], 3), 0);
});

test("the middle of every frame's interval is of that frame", () => {
  for (let frame = 0; frame < TIMES.length; frame++) {
    const middle = middleOf(TIMES, END, frame);
    assert.equal(frameAt(TIMES, middle), frame);
    assert(middle > TIMES[frame] && middle < (TIMES[frame + 1] ?? END));
  }
  assert.equal(middleOf([1], 2, 0), 1.5);
});

test("timestamps in microseconds name their frame, also rounded down", () => {
  TIMES.forEach((time, frame) => {
    assert.equal(frameOfTimestamp(TIMES, END, Math.round(time * 1e6)), frame);
    if (time) assert.equal(frameOfTimestamp(TIMES, END, Math.floor(time * 1e6) - 500), frame);
  });
});

test("timestamps outside of the view are of no frame", () => {
  const times = [1, 1.1, 1.2];
  assert.equal(frameOfTimestamp(times, 1.3, 0.9e6), null);
  assert.equal(frameOfTimestamp(times, 1.3, 1.3e6), null);
  assert.equal(frameOfTimestamp(times, 1.3, 1.25e6), 2);
});

test("seconds and frames agree for random intervals", () => {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const times = [0];
  while (times.length < 500) times.push(times[times.length - 1] + (1 + Math.floor(random() * 100)) / 1000);
  const end = times[times.length - 1] + 0.01;
  for (let frame = 0; frame < times.length; frame++) {
    assert.equal(frameAt(times, middleOf(times, end, frame)), frame);
    assert.equal(frameOfTimestamp(times, end, Math.round(times[frame] * 1e6)), frame);
  }
});

test("at every rate and clock of a file its times name their frames", () => {
  const rates = [24000 / 1001, 25, 30000 / 1001, 50, 60000 / 1001, 12.5, 240];
  const ticks = [1000, 600, 90000, 1e9]; // a second
  for (const rate of rates) {
    for (const tick of ticks) {
      const times = Array.from({ length: 20000 }, (_, frame) => Math.round((frame / rate) * tick) / tick);
      const end = times[times.length - 1] + 1 / rate;
      for (let frame = 0; frame < times.length; frame += 7) {
        for (const microseconds of [Math.round(times[frame] * 1e6), Math.floor(times[frame] * 1e6)]) {
          assert.equal(frameOfTimestamp(times, end, microseconds), frame);
        }
        const middle = Math.round(middleOf(times, end, frame) * 1e6) / 1e6; // a seek has whole microseconds
        assert.equal(frameAt(times, middle), frame);
        assert(middle - times[frame] > 0.001 && (times[frame + 1] ?? end) - middle > 0.001, "clear of both edges");
      }
    }
  }
});

test("requests outside of the video go to its ends", () => {
  assert.deepEqual([-5, 0, 3.4, 3.6, 9, 50].map((frame) => clampFrame(frame, 10)), [0, 0, 3, 4, 9, 9]);
});

test("times are minutes, seconds and hundredths", () => {
  assert.deepEqual([0, 3.414, 59.99, 60, 754.5].map(formatTime), ["0:00.00", "0:03.41", "0:59.99", "1:00.00", "12:34.50"]);
});
