/** The matte's arithmetic in a thread of its own, so that the page stays quick. */

import { afterStroke, enlarged } from "./engine/matte.js";

onmessage = ({ data: { id, stroke, small, full } }) => {
  const alpha = stroke ? afterStroke(stroke) : enlarged(small, full);
  postMessage({ id, alpha }, [alpha.buffer]);
};
