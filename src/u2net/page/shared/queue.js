/** At most so many at once; the others wait for their turn. */

export function takingTurns(most) {
  const waiting = [];
  let running = 0;

  function next() {
    if (running === most || !waiting.length) return;
    running += 1;
    waiting.shift()().finally(() => {
      running -= 1;
      next();
    });
  }

  /** What `work` gives, once it had its turn. */
  return (work) =>
    new Promise((resolve, reject) => {
      waiting.push(() => work().then(resolve, reject));
      next();
    });
}
