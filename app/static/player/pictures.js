// Where the player's pictures come from: a <video>, or single pictures from the server. Both have the same verbs:
//
//   seek(frame)            resolves when `frame` was given to draw(picture, frame), or a later seek has taken its place
//   play(rate, onEnd)      draws frame after frame until pause() or the end
//   pause(), muted(flag), close()
//
// draw is called with the picture and its own frame, in one go: what is drawn from it cannot be of another frame.

/** The frame of `times` that is due at `time`: the last one that has begun, the first one before that. */
export function frameAt(times, time) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

export function openPictures(show, base, draw) {
  const seen = typeof VideoFrame === "function" && typeof HTMLVideoElement.prototype.requestVideoFrameCallback === "function";
  return show.video && seen ? new Film(show, `${base}/video.mp4`, draw) : new Stills(show, `${base}/frames`, draw);
}

const SLACK = 0.0006; // seconds; times are whole milliseconds in the file, and microseconds here
const TRIES = 3;
const PATIENCE = 100; // looks for a picture, 20 ms apart

class Film {
  constructor(show, url, draw) {
    this.times = show.times;
    this.end = show.end;
    this.draw = draw;
    this.wanted = null;
    this.last = undefined; // frame that was drawn last
    this.seeking = null;
    this.run = 0;
    this.video = Object.assign(document.createElement("video"), { src: url, preload: "auto", playsInline: true });
    this.video.className = "player-source";
    this.video.setAttribute("aria-hidden", "true");
    this.video.tabIndex = -1;
    document.body.append(this.video);
    this.ready = once(this.video, "loadeddata").then(() => undefined);
    this.ready.catch(() => undefined);
  }

  middle(frame) {
    const stop = frame + 1 < this.times.length ? this.times[frame + 1] : this.end;
    return (this.times[frame] + stop) / 2;
  }

  /** Drags ask for more frames than can be found: the newest wish counts. */
  async seek(frame) {
    this.pause();
    this.wanted = frame;
    this.seeking ??= this.fulfil().finally(() => (this.seeking = null));
    await this.seeking;
  }

  async fulfil() {
    await this.ready;
    for (let tries = 0; this.wanted !== null; ) {
      const frame = this.wanted;
      const before = this.last;
      await this.go(this.middle(frame));
      const found = await this.arrived(before === frame ? undefined : before);
      // Whatever was found is drawn under its own number; a file whose times are not those stated ends the search.
      if (this.wanted === frame && (found === frame || ++tries === TRIES)) this.wanted = null;
    }
  }

  async go(time) {
    const arrived = once(this.video, "seeked");
    this.video.currentTime = time;
    await arrived;
    if (this.video.readyState < 2) await once(this.video, "canplay");
  }

  /** `take`, once there is a picture and not still the one before: a busy browser says too early that a seek is done. */
  async arrived(before) {
    let found;
    for (let waits = 0; waits < PATIENCE; waits++) {
      found = this.take();
      if (found !== undefined && (found === null || found !== before)) return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (found === undefined) throw new Error("The browser has no picture of this frame.");
    return found;
  }

  /** What the video shows now; undefined where that is nothing yet. */
  grab() {
    try {
      return new VideoFrame(this.video);
    } catch (error) {
      if (error.name === "InvalidStateError") return undefined;
      throw error;
    }
  }

  /** Draw what the video shows now; its frame, null where it is none of the show's, undefined where there is none yet. */
  take() {
    const picture = this.grab();
    if (!picture) return undefined;
    try {
      const time = picture.timestamp / 1e6 + SLACK;
      if (time < this.times[0] || time >= this.end) return null;
      const frame = frameAt(this.times, time);
      this.last = frame;
      this.draw(picture, frame);
      return frame;
    } finally {
      picture.close();
    }
  }

  async play(rate, onEnd) {
    const run = ++this.run;
    await this.ready;
    if (this.seeking) await this.seeking;
    if (run !== this.run) return;
    const next = () => {
      if (run !== this.run) return;
      if (this.video.currentTime >= this.end) return this.stop(onEnd);
      if (this.video.readyState >= 2) this.take();
      this.video.requestVideoFrameCallback(next);
    };
    this.video.requestVideoFrameCallback(next);
    this.video.onended = () => run === this.run && this.stop(onEnd);
    this.video.playbackRate = rate;
    await this.video.play().catch(() => run === this.run && this.stop(onEnd));
  }

  stop(onEnd) {
    this.pause();
    onEnd();
  }

  pause() {
    this.run++;
    this.video.pause();
  }

  muted(flag) {
    this.video.muted = flag;
  }

  close() {
    this.pause();
    this.wanted = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
  }
}

function once(target, event) {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const settle = (how) => (what) => {
      stop.abort();
      how(what);
    };
    target.addEventListener(event, settle(resolve), { signal: stop.signal });
    target.addEventListener("error", settle(() => reject(new Error("The video could not be read."))), { signal: stop.signal });
  });
}

const AHEAD = 4, KEPT = 12; // pictures

class Stills {
  constructor(show, url, draw) {
    this.times = show.times;
    this.end = show.end;
    this.first = show.first;
    this.url = url;
    this.draw = draw;
    this.pictures = new Map();
    this.run = 0;
    this.frame = 0;
  }

  /** Promise of a picture; a few are kept, the oldest go. */
  fetch(frame) {
    const kept = this.pictures.get(frame) ?? this.load(frame);
    this.pictures.delete(frame);
    this.pictures.set(frame, kept);
    for (const [old, picture] of this.pictures) {
      if (this.pictures.size <= KEPT) break;
      this.pictures.delete(old);
      picture.then((it) => it.close(), () => undefined);
    }
    return kept;
  }

  async load(frame) {
    const answer = await fetch(`${this.url}/${this.first + frame}.jpg`);
    if (!answer.ok) throw new Error(await answer.text());
    return createImageBitmap(await answer.blob());
  }

  async seek(frame) {
    this.pause();
    const run = this.run;
    const picture = await this.fetch(frame);
    if (run === this.run) this.take(picture, frame);
  }

  take(picture, frame) {
    this.frame = frame;
    this.draw(picture, frame);
  }

  /** By the clock: a frame that comes too late gives way to the one that is due. */
  async play(rate, onEnd) {
    const run = ++this.run, began = performance.now(), start = this.times[this.frame];
    for (let frame = this.frame; run === this.run; ) {
      const due = began + ((this.times[frame] - start) * 1000) / rate;
      for (let next = frame; next < Math.min(frame + AHEAD, this.times.length); next++) this.fetch(next).catch(() => undefined);
      const picture = await this.fetch(frame);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
      if (run !== this.run) return;
      this.take(picture, frame);
      const now = start + ((performance.now() - began) * rate) / 1000;
      if (frame === this.times.length - 1) {
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, ((this.end - now) * 1000) / rate)));
        if (run === this.run) onEnd();
        return;
      }
      frame = Math.max(frame + 1, frameAt(this.times, now));
    }
  }

  pause() {
    this.run++;
  }

  muted() {}

  close() {
    this.pause();
    for (const picture of this.pictures.values()) picture.then((it) => it.close(), () => undefined);
    this.pictures.clear();
  }
}
