// The interface `wall-clock`.

export function now() {
  const time = performance.timeOrigin + performance.now();
  return { seconds: BigInt(Math.floor(time / 1000)), nanoseconds: Math.floor((time % 1000) * 1_000_000) };
}
