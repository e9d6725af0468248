// Seeking: frame indices and presentation times, which need not be evenly spaced.

/**
 * The frame shown at a time: the last one that has begun, the first one before that.
 * @param {readonly number[]} times presentation times, seconds, strictly increasing
 * @param {number} time seconds
 */
export function frameAt(times, time) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * The middle of a frame's interval, which is safe to seek to; at its edges browsers show the frame before or after.
 * @param {readonly number[]} times
 * @param {number} end when the last frame ends, seconds
 * @param {number} frame
 */
export function middleOf(times, end, frame) {
  const stop = frame + 1 < times.length ? times[frame + 1] : end;
  return (times[frame] + stop) / 2;
}

/**
 * The frame at a time of a video file, null outside of the view.
 * @param {readonly number[]} times
 * @param {number} end
 * @param {number} microseconds the timestamp of a VideoFrame
 */
export function frameOfTimestamp(times, end, microseconds) {
  const time = microseconds / 1e6 + SLACK;
  return time < times[0] || time >= end ? null : frameAt(times, time);
}

const SLACK = 0.0006; // seconds; browsers round the times of a file to microseconds

/**
 * The nearest frame of a view to any number.
 * @param {number} frame
 * @param {number} length
 */
export function clampFrame(frame, length) {
  return Math.min(length - 1, Math.max(0, Math.round(frame)));
}

/**
 * Minutes, seconds and hundredths.
 * @param {number} seconds
 */
export function formatTime(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}
