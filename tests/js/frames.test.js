// Seeking in a video as a browser does it at its last frame: the picture comes late, and without an event.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openFrames } from "../../app/static/player/frames.js";

const TIMES = [0, 0.5, 1], END = 1.5;

class FakeVideo extends EventTarget {
  style = {};
  readyState = 2;
  videoWidth = 2;
  time = 0;

  setAttribute() {}

  pause() {}

  requestVideoFrameCallback() {}

  get currentTime() {
    return this.time;
  }

  set currentTime(time) {
    this.time = time;
    this.readyState = 1;
    setTimeout(() => this.dispatchEvent(new Event("seeked")), 5);
    setTimeout(() => (this.readyState = 2), 60);
  }
}

class FakeVideoFrame {
  /** @param {FakeVideo} video */
  constructor(video) {
    if (video.readyState < 2) throw new DOMException("no picture", "InvalidStateError");
    this.timestamp = 1e6 * (TIMES.filter((time) => time <= video.currentTime).at(-1) ?? 0);
  }

  close() {}
}

test("a seek to the last frame ends once its picture is there, without an event for it", { timeout: 5000 }, async () => {
  const video = new FakeVideo();
  const document = { createElement: () => video, body: { append() {} } };
  Object.assign(globalThis, { document, HTMLVideoElement: FakeVideo, VideoFrame: FakeVideoFrame });
  /** @type {number[]} */
  const drawn = [];
  const view = /** @type {import("../../app/static/player/types.js").View} */ (/** @type {unknown} */ ({ times: TIMES, end: END, video: "a.mp4" }));
  const stream = openFrames(view, "", (_, frame) => drawn.push(frame));
  video.dispatchEvent(new Event("loadeddata"));
  await stream.seek(2);
  assert.deepEqual(drawn, [2]);
});
