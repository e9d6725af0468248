// The player's pictures: from a <video>, or single images from the server. Each picture is drawn together with its own
// frame index, so that masks can never be those of another frame.

import { LruCache } from "./lru.js";
import { frameAt, frameOfTimestamp, middleOf } from "./times.js";

/** @import { DrawFrame, FrameStream, View } from "./types.js" */

/**
 * @param {View} view
 * @param {string} base address of the view
 * @param {DrawFrame} draw
 * @returns {FrameStream}
 */
export function openFrames(view, base, draw) {
  const exact = typeof VideoFrame === "function" && typeof HTMLVideoElement.prototype.requestVideoFrameCallback === "function";
  return view.video && exact ? new VideoOrPictures(view, base, draw) : new ImageStream(view, base, draw);
}

/**
 * The video, or from the moment on at which the browser fails to play it, the server's pictures of its frames.
 * @implements {FrameStream}
 */
class VideoOrPictures {
  /**
   * @param {View} view
   * @param {string} base
   * @param {DrawFrame} draw
   */
  constructor(view, base, draw) {
    this.pictures = new ImageStream(view, base, draw);
    /** @type {Parameters<FrameStream["play"]> | null} what plays, until the next pause */
    this.playing = null;
    this.video = new VideoStream(view, `${base}/video/${view.video}`, (picture, frame) => {
      this.pictures.frame = frame;
      draw(picture, frame);
    }, () => this.showPictures());
    /** @type {FrameStream} */
    this.stream = this.video;
  }

  showPictures() {
    if (this.stream === this.pictures) return;
    this.video.close();
    this.stream = this.pictures;
    if (!this.playing) return;
    const [rate, onEnd] = this.playing;
    this.play(rate, onEnd).catch(onEnd); // whoever has begun to play does not wait for errors any more
  }

  /** @param {(stream: FrameStream) => Promise<void>} work begun again where the browser fails at it */
  async attempt(work) {
    try {
      await work(this.stream);
    } catch (error) {
      if (!(error instanceof PlaybackError)) throw error;
      this.showPictures();
      await work(this.stream);
    }
  }

  /** @param {number} frame */
  seek(frame) {
    this.playing = null;
    return this.attempt((stream) => stream.seek(frame));
  }

  /**
   * @param {number} rate
   * @param {() => void} onEnd
   */
  play(rate, onEnd) {
    this.playing = [rate, onEnd];
    return this.attempt((stream) => stream.play(rate, onEnd));
  }

  pause() {
    this.playing = null;
    this.stream.pause();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.video.setMuted(muted);
  }

  close() {
    this.playing = null;
    this.stream.close();
  }
}

const UNREADABLE = "The video could not be read.";

/** The browser cannot play a video. */
class PlaybackError extends Error {}

const MAX_TRIES = 3;
const POLL = 20, PICTURE_TIMEOUT = 10_000, STALE_TIMEOUT = 2000; // milliseconds

/** @param {number} milliseconds */
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** @implements {FrameStream} */
class VideoStream {
  /**
   * @param {View} view
   * @param {string} url
   * @param {DrawFrame} draw
   * @param {() => void} onError called where the browser cannot play it any further
   */
  constructor(view, url, draw, onError) {
    this.times = view.times;
    this.end = view.end;
    this.draw = draw;
    /** @type {number | null} the frame that was requested last, until it is drawn */
    this.wanted = null;
    /** @type {number | undefined} the frame that was drawn last */
    this.last = undefined;
    /** @type {Promise<void> | null} */
    this.seeking = null;
    this.run = 0; // counts pauses, so that an older call of play ends
    this.video = Object.assign(document.createElement("video"), { src: url, preload: "auto", playsInline: true });
    this.video.className = "player-source";
    this.video.setAttribute("aria-hidden", "true");
    this.video.tabIndex = -1;
    document.body.append(this.video);
    this.ready = once(this.video, "loadeddata").then(() => {
      // Of a file whose pictures it cannot decode a browser plays the sound.
      if (!this.video.videoWidth) throw new PlaybackError("The browser does not show this video.");
    });
    this.ready.catch(() => undefined);
    this.failed = false;
    this.video.addEventListener("error", () => {
      this.failed = true;
      onError();
    });
  }

  /**
   * Drags request more frames than can be decoded: the newest request counts.
   * @param {number} frame
   */
  async seek(frame) {
    this.pause();
    this.wanted = frame;
    this.seeking ??= this.seekWanted().finally(() => (this.seeking = null));
    await this.seeking;
  }

  async seekWanted() {
    await this.ready;
    for (let tries = 0; this.wanted !== null; ) {
      const frame = this.wanted, before = this.last;
      const seeked = once(this.video, "seeked");
      this.video.currentTime = middleOf(this.times, this.end, frame);
      await seeked;
      const drawn = await this.drawNew(before === frame ? undefined : before);
      // Any picture is drawn under its own index; a file whose times are not those stated ends the search.
      if (this.wanted === frame && (drawn === frame || ++tries === MAX_TRIES)) this.wanted = null;
    }
  }

  /**
   * `drawCurrent`, once there is a picture other than that of frame `before`: a busy browser says too early that a
   * seek is done. No event is awaited: "canplay" never comes at the last frame, after which there is nothing to play.
   * @param {number | undefined} before
   */
  async drawNew(before) {
    for (let waited = 0; ; waited += POLL) {
      if (this.failed) throw new PlaybackError(UNREADABLE);
      const frame = this.drawCurrent();
      if (frame === undefined ? waited >= PICTURE_TIMEOUT : frame !== before || waited >= STALE_TIMEOUT) {
        if (frame === undefined) throw new Error("The browser has no picture of this frame.");
        return frame;
      }
      await sleep(POLL);
    }
  }

  /** Draw the video's current picture; its frame, null where it is outside of the view, undefined where there is none yet. */
  drawCurrent() {
    let picture;
    try {
      picture = new VideoFrame(this.video);
    } catch (error) {
      if (error instanceof DOMException && error.name === "InvalidStateError") return undefined;
      throw error;
    }
    try {
      const frame = frameOfTimestamp(this.times, this.end, picture.timestamp);
      if (frame === null) return null;
      this.last = frame;
      this.draw(picture, frame);
      return frame;
    } finally {
      picture.close();
    }
  }

  /**
   * @param {number} rate
   * @param {() => void} onEnd
   */
  async play(rate, onEnd) {
    const run = ++this.run;
    await this.ready;
    if (this.seeking) await this.seeking;
    if (run !== this.run) return;
    const stop = () => {
      if (run !== this.run) return;
      this.pause();
      onEnd();
    };
    const next = () => {
      if (run !== this.run) return;
      if (this.video.currentTime >= this.end) return stop();
      if (this.video.readyState >= 2) this.drawCurrent();
      this.video.requestVideoFrameCallback(next);
    };
    this.video.requestVideoFrameCallback(next);
    this.video.onended = stop;
    this.video.playbackRate = rate;
    await this.video.play().catch(stop);
  }

  pause() {
    this.run++;
    this.video.pause();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.video.muted = muted;
  }

  close() {
    this.pause();
    this.wanted = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
  }
}

/**
 * Resolves at the next such event, rejects at the next error.
 * @param {HTMLVideoElement} video
 * @param {string} type
 * @returns {Promise<void>}
 */
function once(video, type) {
  return new Promise((resolve, reject) => {
    const controller = new AbortController(), { signal } = controller;
    video.addEventListener(type, () => {
      controller.abort();
      resolve();
    }, { signal });
    video.addEventListener("error", () => {
      controller.abort();
      reject(new PlaybackError(UNREADABLE));
    }, { signal });
  });
}

const AHEAD = 4, MAX_IMAGES = 12;

/** @implements {FrameStream} */
class ImageStream {
  /**
   * @param {View} view
   * @param {string} base
   * @param {DrawFrame} draw
   */
  constructor(view, base, draw) {
    this.times = view.times;
    this.end = view.end;
    this.first = view.first;
    /** @param {number} frame of the whole video; the browser keeps pictures of another file apart */
    this.urlOf = (frame) => `${base}/frames/${frame}.jpg${view.video ? `?${view.video}` : ""}`;
    this.draw = draw;
    /** @type {LruCache<number, Promise<ImageBitmap>>} */
    this.images = new LruCache(MAX_IMAGES, { onEvict: (image) => void image.then((bitmap) => bitmap.close(), () => undefined) });
    this.run = 0; // counts pauses, so that an older seek or call of play ends
    this.frame = 0;
  }

  /** @param {number} frame */
  request(frame) {
    let image = this.images.get(frame);
    if (!image) {
      image = this.fetch(frame);
      this.images.set(frame, image);
    }
    return image;
  }

  /** @param {number} frame */
  async fetch(frame) {
    const response = await fetch(this.urlOf(this.first + frame));
    if (!response.ok) throw new Error(await response.text());
    return createImageBitmap(await response.blob());
  }

  /** @param {number} frame */
  async seek(frame) {
    this.pause();
    const { run } = this;
    const image = await this.request(frame);
    if (run === this.run) this.show(image, frame);
  }

  /**
   * @param {ImageBitmap} image
   * @param {number} frame
   */
  show(image, frame) {
    this.frame = frame;
    this.draw(image, frame);
  }

  /**
   * By the clock: a frame that arrives too late is skipped.
   * @param {number} rate
   * @param {() => void} onEnd
   */
  async play(rate, onEnd) {
    const run = ++this.run, began = performance.now(), start = this.times[this.frame];
    for (let frame = this.frame; run === this.run; ) {
      const due = began + ((this.times[frame] - start) * 1000) / rate;
      for (let next = frame; next < Math.min(frame + AHEAD, this.times.length); next++) this.request(next).catch(() => undefined);
      const image = await this.request(frame);
      await sleep(Math.max(0, due - performance.now()));
      if (run !== this.run) return;
      this.show(image, frame);
      const now = start + ((performance.now() - began) * rate) / 1000;
      if (frame === this.times.length - 1) {
        await sleep(Math.max(0, ((this.end - now) * 1000) / rate));
        if (run === this.run) onEnd();
        return;
      }
      frame = Math.max(frame + 1, frameAt(this.times, now));
    }
  }

  pause() {
    this.run++;
  }

  setMuted() {}

  close() {
    this.pause();
    this.images.clear();
  }
}
