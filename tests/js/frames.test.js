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

  src = "";

  setAttribute() {}

  removeAttribute() {}

  remove() {}

  load() {}

  pause() {}

  async play() {}

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

/** A stream of a fake video, whose pictures are those of a fake server. */
function openFake() {
  const video = new FakeVideo();
  /** @type {number[]} */
  const drawn = [];
  /** @type {string[]} */
  const requests = [];
  Object.assign(globalThis, {
    document: { createElement: () => video, body: { append() {} } },
    HTMLVideoElement: FakeVideo,
    VideoFrame: FakeVideoFrame,
    createImageBitmap: async () => ({ close() {} }),
    fetch: async (/** @type {string} */ url) => {
      requests.push(url);
      return { ok: true, blob: async () => null };
    },
  });
  const view = /** @type {import("../../app/static/player/types.js").View} */ (
    /** @type {unknown} */ ({ first: 4, times: TIMES, end: END, video: "a.mp4" })
  );
  const stream = openFrames(view, "/v", (_, frame) => drawn.push(frame));
  return { video, stream, drawn, requests };
}

test("a seek to the last frame ends once its picture is there, without an event for it", { timeout: 5000 }, async () => {
  const { video, stream, drawn } = openFake();
  video.dispatchEvent(new Event("loadeddata"));
  await stream.seek(2);
  assert.deepEqual(drawn, [2]);
  assert.equal(video.src, "/v/video/a.mp4");
});

test("pictures are shown where the browser cannot read the video", { timeout: 5000 }, async () => {
  const { video, stream, drawn, requests } = openFake();
  const seek = stream.seek(1);
  video.dispatchEvent(new Event("error"));
  await seek;
  await stream.seek(2);
  assert.deepEqual(drawn, [1, 2]);
  assert.deepEqual(requests, ["/v/frames/5.jpg?a.mp4", "/v/frames/6.jpg?a.mp4"]);
});

test("pictures are shown where the browser plays only the sound", { timeout: 5000 }, async () => {
  const { video, stream, drawn, requests } = openFake();
  video.videoWidth = 0;
  const seek = stream.seek(1);
  video.dispatchEvent(new Event("loadeddata"));
  await seek;
  assert.deepEqual([drawn, requests.length], [[1], 1]);
});

test("playing goes on with pictures from the frame at which the browser fails", { timeout: 5000 }, async () => {
  const { video, stream, drawn } = openFake();
  video.dispatchEvent(new Event("loadeddata"));
  await stream.seek(1);
  const ended = new Promise((resolve) => void stream.play(4, () => resolve(null)));
  await new Promise((resolve) => setTimeout(resolve, 5)); // it plays
  video.dispatchEvent(new Event("error"));
  await ended;
  assert.deepEqual(drawn, [1, 1, 2]);
});
