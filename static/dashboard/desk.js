// A second press within moments is the same press: what is shown once would otherwise be shown to nobody.
(() => {
  "use strict";
  const AGAIN_MS = 3000;
  const sent = new WeakMap();

  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post") return;
    const last = sent.get(event.target);
    if (last !== undefined && event.timeStamp - last < AGAIN_MS) event.preventDefault();
    else sent.set(event.target, event.timeStamp);
  });
})();
