// Focus, keys and the clock; puts pushed pieces in their places. Decides nothing: every verdict is a form's post.
(() => {
  "use strict";

  const FRESH_MS = 400; // keys and clicks on a slip that has just come up do not count
  const ARM_MS = 500;
  const SILENT_S = 15; // without a sign of life for so long, what stands here may be old
  const POLL_S = 5;
  const AGAIN_MS = 8000 + 2000 * Math.random(); // so often a page asks for everything, to be sure; not all at once
  const SURE_MS = 13000; // a part that was not told whole for so long is asked for by the other way too
  const ACK_FRAMES = 32;
  const ACK_MS = 4500; // at every sign of life: a hidden page's messages are not slowed down as its timers are
  const root = document.documentElement;
  const id = (name) => document.getElementById(name);
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const now = () => Date.now();
  let skew = 0; // how far the server's clock is ahead of ours
  const there = () => now() + skew;

  let socket = null; // the ws extension's wrapper, while it is open
  let lastSign = now(); // the last sign of life, by our clock
  let closedAt = 0;
  let offlineSince = null;
  let signedOut = false;
  let asking = false; // for the stub as it is now
  let bringing = false; // the list as it is now
  let unreachable = false; // the last question got no answer at all
  let appearedAt = now();
  let frames = 0; // of this very socket: the server counts what it sent to it, and nothing else
  let acknowledged = 0;
  let acknowledgedAt = 0;
  let told = 0; // what sockets brought, signs of life aside
  let polls = 0;
  let polledAt = 0;
  let newestPoll = 0; // of those that were answered
  let askedAt = 0;
  let telling = false; // what a socket brought is on its way into the page
  const loadedAt = now();
  const whole = new Map(); // part of the page -> when all of it was told last
  let sure = 0; // everything up to this event was told, whatever came after
  let seenPayload = false;
  let watcher = null;
  let lastBeat = id("beat") ? id("beat").dateTime : "";
  let opening = null; // the slip on its way into the pane
  let afterwards = null; // what the reader chose while a verdict was on its way
  let composing = false; // with an input method: replacing the field now would break the word
  const drafts = new Map(); // request -> what was typed, chosen and edited there
  const waitingForSelection = new Map();
  const lacking = new Map(); // entries of which the page missed something -> the seq of what told it so
  const sources = new WeakMap(); // a piece in its place -> as it was told

  root.classList.add("js");
  const keysOn = () => localStorage.getItem("keys") !== "off";

  // --- words ---------------------------------------------------------------------------------------------------------

  function span(ms, short) {
    const seconds = Math.max(Math.floor(ms / 1000), 0);
    for (const [size, unit, part, partUnit] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (seconds < size) continue;
      const rest = short || (seconds >= 600 && seconds < 3600) ? 0 : Math.floor((seconds % size) / part);
      const shown = part === 1 ? String(rest).padStart(2, "0") : rest;
      return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${shown} ${partUnit}` : ""}`;
    }
    return `${seconds} s`;
  }

  function write(node, text) {
    if (node && node.textContent !== text) node.textContent = text;
  }

  function say(text) {
    write(id("say"), text);
  }

  function trouble(text) {
    // Where the act was, and aloud.
    say(text);
    const sign = id("sign");
    if (!sign) return;
    const note = document.createElement("p");
    note.className = "s stop";
    note.textContent = text;
    for (const old of all("[data-trouble]", sign)) old.remove();
    note.dataset.trouble = "";
    sign.prepend(note);
  }

  function clock(ms) {
    return new Date(ms + skew).toISOString().slice(11, 19);
  }

  // --- asking the server ---------------------------------------------------------------------------------------------

  async function get(path, target) {
    // The answer's text, or null. Not by htmx: it queues such questions behind each other and forgets some of them.
    const stop = new AbortController();
    const late = setTimeout(() => stop.abort(), 20000);
    try {
      const answer = await fetch(path, { headers: { "HX-Request": "true", "HX-Target": target }, signal: stop.signal });
      const text = await answer.text();
      if (new URL(answer.url).pathname.startsWith("/accounts/login")) signedOut = true;
      else if (answer.status < 500) {
        unreachable = false;
        lastSign = now();
      }
      look();
      if (answer.ok && !signedOut) return text;
      if (answer.status === 404) trouble("It is not here any more. Load the page again.");
      else if (answer.status >= 500) trouble("Something broke here. Load the page again.");
    } catch {
      unreachable = true;
      look();
    } finally {
      clearTimeout(late);
    }
    return null;
  }

  function put(place, html, style, select) {
    keep();
    htmx.swap(place, html, { swapStyle: style }, { select, eventInfo: { target: place } });
  }

  // --- drafts: what somebody typed outlives every answer of the server ------------------------------------------------

  function keep() {
    const slip = id("slip");
    const form = id("decide");
    if (!slip || !form) return;
    const { because, reason, answer } = form.elements;
    const at = document.activeElement;
    const draft = {
      because: because ? because.value : "",
      reason: reason ? reason.value : "",
      answer: answer ? answer.value : "",
      edit: id("editing"),
      at: at && at.matches("#decide textarea, #editing textarea") ? [at.name, at.selectionStart, at.selectionEnd] : null,
      sent: false,
    };
    drafts.delete(slip.dataset.request);
    drafts.set(slip.dataset.request, draft);
    if (drafts.size > 50) drafts.delete(drafts.keys().next().value);
  }

  function restore() {
    const slip = id("slip");
    const draft = slip && drafts.get(slip.dataset.request);
    if (!draft) return;
    const form = id("decide");
    if (!form) {
      if (draft.sent) return;
      const edited = draft.edit && draft.edit.querySelector("textarea");
      const changed = edited && (edited.value !== edited.defaultValue || draft.edit.querySelector('input[name="edited"]'));
      kept("[data-kept-note]", [draft.because, draft.reason.trim()].filter(Boolean).join(". "));
      kept("[data-kept-answer]", draft.answer.trim());
      kept("[data-kept-edit]", changed ? edited.value : "");
      return;
    }
    draft.sent = false;
    const { because, reason, answer } = form.elements;
    if (reason && !reason.value) reason.value = draft.reason;
    if (answer && !answer.value) answer.value = draft.answer;
    if (because && !because.value && draft.because) because.value = draft.because;
    if (draft.edit && id("edit") && !id("editing")) {
      id("edit").replaceChildren(draft.edit);
      htmx.process(draft.edit);
    }
    verdictWord();
    if (draft.at) {
      const [name, from, to] = draft.at;
      const area = document.querySelector(`#decide textarea[name="${name}"], #editing textarea[name="${name}"]`);
      if (area) {
        area.focus({ preventScroll: true });
        area.setSelectionRange(from, to);
      }
      draft.at = null;
    }
  }

  function kept(where, text) {
    const area = document.querySelector(where);
    if (!area || area.value || !text) return;
    area.value = text;
    area.closest("[data-kept]").hidden = false;
  }

  function verdictWord() {
    write(id("approve-word"), document.querySelector('#editing input[name="edited"]') ? "Approve edit" : "Approve");
  }

  function unreviewed() {
    const area = document.querySelector("#editing textarea");
    return Boolean(area && (area.value !== area.defaultValue || area.closest("[data-problem]")));
  }

  // --- connection ----------------------------------------------------------------------------------------------------

  function parts() {
    // What of this page the server tells, by its names.
    const page = id("live").dataset.page;
    const own = page === "inbox" || page === "run" ? [page] : [];
    return ["rail", ...own, ...(id("slip") ? ["request"] : [])];
  }

  function unsure(ms) {
    return parts().some((part) => now() - (whole.get(part) || loadedAt) > ms);
  }

  function again() {
    // Nothing that went wrong on the way, here or there, may stand for longer than this.
    if (!id("live") || document.hidden || signedOut) return;
    if (socket && (lacking.size || unsure(AGAIN_MS)) && now() - askedAt > 4000) ask();
    if (unsure(SURE_MS) && now() - polledAt > 1000 * POLL_S) poll();
  }

  function ask() {
    askedAt = now();
    send({ type: "again", seq: known() });
  }

  function known() {
    // The page has everything up to here.
    return Math.min(sure, ...Array.from(lacking.values(), (last) => last - 1));
  }

  function live() {
    return socket !== null && now() - lastSign < SILENT_S * 1000;
  }

  function offline() {
    return signedOut || offlineSince !== null;
  }

  function banner(text, link) {
    const bar = id("banner");
    if (!bar) return;
    if (!text) {
      bar.hidden = true;
      return;
    }
    if (!bar.hidden && bar.dataset.text === text) return;
    bar.dataset.text = text;
    const words = document.createElement("span");
    words.textContent = text;
    bar.replaceChildren(words);
    if (link) {
      const again = document.createElement("a");
      again.href = link;
      again.className = "b sm push";
      again.textContent = "Sign in again";
      bar.append(again);
    }
    bar.hidden = false;
  }

  function look() {
    if (!id("live")) return;
    const quiet = unreachable || now() - lastSign > SILENT_S * 1000 || !navigator.onLine;
    if (quiet && offlineSince === null) offlineSince = navigator.onLine ? lastSign : now();
    if (!quiet && offlineSince !== null) {
      offlineSince = null;
      say("Back. This page is up to date again.");
    }
    if (signedOut) {
      banner("You are signed out. Nothing can be decided from here; what you typed stays until you leave.", `/accounts/login/?next=${encodeURIComponent(location.pathname + location.search)}`);
    } else if (offlineSince !== null) {
      banner(`Offline since ${clock(offlineSince)} UTC. This page may be old. Nothing can be decided from here. Requests still run out of time, and are then not approved.`);
    } else if (Math.abs(skew) > 5000) {
      banner(`The clock of this computer is ${span(Math.abs(skew))} ${skew > 0 ? "slow" : "fast"}. Times here follow the server.`);
    } else {
      banner("");
    }
    for (const part of all("[data-live]")) {
      part.classList.toggle("on", !offline());
      part.classList.toggle("off", offline());
      const word = signedOut ? "Signed out" : offlineSince !== null ? `Offline since ${clock(offlineSince)}` : socket ? "Live" : "Live, by asking";
      write(part.querySelector("[data-live-word]"), word);
      write(part.querySelector("[data-live-age]"), offline() ? "" : span(now() - lastSign));
    }
    root.classList.toggle("offline", offline());
    arm();
  }

  function send(frame) {
    if (socket) socket.sendImmediately(JSON.stringify(frame));
  }

  function greet() {
    const timeline = id("timeline");
    if (timeline) send({ type: "after", seq: lacking.size ? known() : Math.max(sure, Number(timeline.dataset.seq || 0)) });
    const slip = id("slip");
    if (slip) send({ type: "watch", request: slip.dataset.request });
  }

  function poll() {
    const part = id("live");
    if (!part || (live() && !unsure(SURE_MS)) || signedOut || document.hidden) return;
    if (socket === null && now() - closedAt < 2000) return;
    const url = new URL(part.dataset.poll, location.href);
    if (id("timeline")) url.searchParams.set("after", String(known()));
    const slip = id("slip");
    if (slip) url.searchParams.set("request", slip.dataset.request);
    const mine = ++polls;
    const before = told;
    polledAt = now();
    get(url.pathname + url.search, "feed").then((html) => {
      if (html === null || told !== before || mine < newestPoll) return; // what came meanwhile is newer
      newestPoll = mine;
      htmx.swap("#feed", html, { swapStyle: "none" });
      received();
      for (const one of parts()) entire(one);
    });
  }

  function wake() {
    // After sleep or a change of network the socket may be dead without knowing it.
    if (socket && now() - lastSign > SILENT_S * 1000) {
      const old = socket;
      socket = null;
      old.reconnect();
    }
    again();
    poll();
  }

  function entire(part) {
    whole.set(part, now());
    if (part === "run" && id("timeline")) sure = Number(id("timeline").dataset.seq || 0);
  }

  function received() {
    const told = Date.parse(id("beat").dateTime);
    if (told && id("beat").dateTime !== lastBeat) {
      lastBeat = id("beat").dateTime;
      skew = Math.abs(told - now()) > 1500 ? told - now() : 0;
    }
    place();
    pill();
    stub();
    title();
    mine();
    tick();
  }

  function title() {
    const count = Number(id("rail-inbox")?.textContent || 0);
    let words = document.title.replace(/^\(\d+\) /, "");
    const sign = id("sign");
    if (sign && document.body.classList.contains("signing")) words = words.replace(/^[^·]*·/, `${sign.dataset.word} ·`);
    const wanted = `${count ? `(${count}) ` : ""}${words}`;
    if (document.title !== wanted) document.title = wanted;
  }

  function mine() {
    // What is pushed is the same for everybody, so whose it is can only be marked here.
    for (const one of all(".av[data-by]")) one.classList.toggle("me", one.dataset.by === document.body.dataset.user);
  }

  // --- pushed pieces -------------------------------------------------------------------------------------------------

  function place() {
    const feed = id("feed");
    if (!feed) return;
    const timeline = id("timeline");
    const end = window.innerHeight + window.scrollY >= document.body.scrollHeight - 80;
    let grew = false;
    for (const piece of Array.from(feed.children)) {
      const here = all(`[id="${piece.id}"]`).find((one) => !feed.contains(one));
      if (here) {
        const selection = document.getSelection();
        if (piece.dataset.to) {
          grow(waitingForSelection.get(piece.id) || here, piece);
          continue;
        }
        lacking.delete(piece.id);
        if (selection && !selection.isCollapsed && here.contains(selection.anchorNode)) waitingForSelection.set(piece.id, piece);
        else swapIn(here, piece);
      } else if (timeline && piece.id.startsWith("e-") && !("still" in timeline.dataset)) {
        if (piece.dataset.to) {
          missed(piece);
          continue;
        }
        lacking.delete(piece.id);
        timeline.append(piece);
        grew = true;
      }
    }
    const had = Number(timeline?.dataset.seq || 0);
    if (timeline && feed.dataset.seq) timeline.dataset.seq = String(Math.max(had, Number(feed.dataset.seq)));
    if (timeline && Number(feed.dataset.missed) > had + 1 && !("still" in timeline.dataset)) location.reload(); // too much came meanwhile
    feed.replaceChildren();
    if (grew) {
      if (id("no-events")) id("no-events").remove();
      if (end) window.scrollTo({ top: document.body.scrollHeight });
    }
  }

  function grow(here, piece) {
    // What a text grew by: of it what is not there yet. Lengths are in code points, as the server counts them.
    const { from, to, keep, span: place, caption, cut } = piece.dataset;
    const text = here.querySelector("[data-chars]");
    const had = Number(text?.dataset.chars || -1);
    if (had >= Number(to)) return;
    if (had < Number(from) || Boolean(text.querySelector(".cut")) !== Boolean(cut)) {
      missed(piece);
      return;
    }
    sources.delete(here);
    text.dataset.chars = to;
    const end = all("bdi", text).pop();
    const words = Array.from(piece.textContent).slice(had - Number(from)).join("");
    if (end.lastChild) end.lastChild.appendData(words);
    else end.textContent = words;
    const selection = document.getSelection();
    const selected = selection && !selection.isCollapsed && end.contains(selection.anchorNode);
    if (keep && !selected) end.textContent = Array.from(end.textContent).slice(-Number(keep)).join("");
    write(here.querySelector(".when a"), place);
    write(here.querySelector("[data-caption]"), caption);
    write(text.querySelector(".cut"), cut);
  }

  function missed(piece) {
    // The page never got what this goes on from: it is told anew, from here on whatever else was told meanwhile.
    lacking.set(piece.id, Number(piece.dataset.last));
    if (now() - askedAt > 1000) ask();
  }

  function swapIn(here, piece) {
    const source = piece.outerHTML;
    if (sources.get(here) === source) return; // told again, and nothing new
    sources.set(piece, source);
    const open = all("details", here).map((one) => one.open);
    all("details", piece).forEach((one, index) => { one.open = open[index] ?? one.open; });
    here.replaceWith(piece);
  }

  function waiting() {
    const told = id("waiting");
    if (!told || told.dataset.waiting === undefined) return null;
    return new Map(told.dataset.waiting.split(" ").filter(Boolean).map((word) => word.split(".")));
  }

  function pill() {
    const button = id("pill");
    const told = waiting();
    if (!told || !id("queue-list")) return;
    if (id("live").dataset.page !== "inbox" || new URLSearchParams(location.search).get("tab") === "decided") return;
    const fresh = Array.from(told.keys()).filter((one) => !id(`row-${one}`));
    if (fresh.length && (id("queue-list").dataset.empty !== undefined || !document.querySelector(".q-item"))) {
      bring("#main");
      return;
    }
    button.hidden = fresh.length === 0;
    write(button.querySelector("[data-pill-word]"), `${fresh.length} new`);
    if (told.size >= 200) return;
    for (const state of all('.q-item .t[data-status="pending"], .q-item .t[data-status="unknown"]')) {
      if (!told.has(state.dataset.request)) {
        state.dataset.status = "gone";
        sources.delete(state);
        write(state, "over");
      }
    }
  }

  function bring(target) {
    if (bringing) return;
    bringing = true;
    const told = waiting();
    const fresh = told ? Array.from(told).filter(([one]) => !id(`row-${one}`)) : [];
    const focused = document.activeElement && document.activeElement.closest ? document.activeElement.closest(".q-item") : null;
    const keep = focused ? focused.id : "";
    get(location.pathname + location.search, "").then((html) => {
      bringing = false;
      if (html === null) return;
      const list = id("waiting"); // the page brings its number alone, and may be older than what was told meanwhile
      put(document.querySelector(target), html, "outerHTML", target);
      if (list.dataset.waiting !== undefined && !list.isConnected) id("waiting")?.replaceWith(list);
      const grave = fresh.filter(([, glyph]) => glyph === "t3").length;
      say(`${fresh.length} added${grave ? `, ${grave} cannot be undone` : ""}.`);
      const row = keep && id(keep);
      if (row) row.querySelector("a").focus();
      pill();
      mark();
      look();
    });
  }

  function stub() {
    const slip = id("slip");
    const sign = id("sign");
    const told = id("rev");
    if (!slip || !sign || !told || told.dataset.request !== slip.dataset.request || told.dataset.rev === sign.dataset.rev) return;
    const form = id("decide");
    if (asking || composing || sending()) return; // one at a time; the answer to a verdict brings the stub itself
    asking = true;
    const query = new URLSearchParams();
    if (id("pane")) query.set("pane", "1");
    if (form && form.elements.parts) query.set("parts", "all");
    const wanted = told.dataset.rev;
    get(`${slip.dataset.url}?${query}`, "sign").then((html) => {
      asking = false;
      if (html === null || id("sign") !== sign || composing || sending()) return; // the next sign of life asks again
      put(sign, html, "outerHTML");
      say(document.querySelector("#freeze b")?.textContent || `${document.querySelector("#sign .st")?.textContent || "Pending"} now.`);
      if (id("rev") && id("rev").dataset.rev !== wanted) stub();
    });
  }

  function sending() {
    return Boolean(document.querySelector("#sign form.htmx-request"));
  }

  // --- a slip --------------------------------------------------------------------------------------------------------

  function appeared() {
    appearedAt = now();
    seenPayload = false;
    if (watcher) watcher.disconnect();
    const slip = id("slip");
    if (!slip) return;
    const tier = slip.dataset.tier;
    const target = tier === "T3" ? id("seen-end") : id("payload");
    if (!target || tier === "T1" || !("IntersectionObserver" in window)) {
      seenPayload = true;
    } else {
      watcher = new IntersectionObserver((entries) => {
        if (entries.some((one) => one.isIntersecting && (tier === "T3" || one.intersectionRatio > 0.5 || one.intersectionRect.height > 160))) {
          seenPayload = true;
          watcher.disconnect();
          arm();
        }
      }, { threshold: [0, 0.1, 0.25, 0.5, 0.75, 1] });
      watcher.observe(target);
    }
    arm();
    setTimeout(arm, ARM_MS + 20);
  }

  function fresh() {
    // Another stub stands here: a press that was meant for the one before must not count.
    appearedAt = now();
    arm();
    setTimeout(arm, ARM_MS + 20);
  }

  function arm() {
    const seen = id("seen");
    if (seen && seenPayload) write(seen.querySelector("span"), seen.dataset.word);
    const approve = id("approve");
    const why = id("why-off");
    const off = offline();
    const early = now() - appearedAt < ARM_MS;
    const loose = unreviewed();
    if (id("sign")) id("sign").toggleAttribute("data-armed", !off && !early);
    for (const button of all("#sign button.v[name], #sign button.v[data-undo]")) {
      const closed = off || (button === approve && (early || !seenPayload || loose));
      if (closed) {
        button.setAttribute("aria-disabled", "true");
        if (why) button.setAttribute("aria-describedby", "why-off");
      } else {
        button.removeAttribute("aria-disabled");
        button.removeAttribute("aria-describedby");
      }
    }
    if (why && approve) write(why, off ? "Decisions are off until the connection is back. What you typed stays in this browser." : loose ? "Approving opens when you review your edit, or leave the arguments as they were. Rejecting is open now." : !seenPayload ? `Approving opens when the payload was ${id("slip").dataset.tier === "T3" ? "read to its end" : "on screen"}. Rejecting is open now.` : "");
  }

  function paneOpen() {
    const pane = id("pane");
    return Boolean(pane && pane.offsetParent !== null);
  }

  function mark() {
    const slip = id("slip");
    for (const link of all(".q-item a[data-open]")) {
      if (slip && link.dataset.open === slip.dataset.request) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    rove();
  }

  function rove() {
    // One stop for the Tab key among the requests: the arrows and j, k move inside.
    const links = all(".q-item a[data-open]");
    const stop = links.find((one) => one === document.activeElement) || links.find((one) => one.hasAttribute("aria-current")) || links[0];
    for (const one of links) one.tabIndex = one === stop ? 0 : -1;
  }

  function open(url, { focus = false, extra = "", again = false } = {}) {
    if (sending()) { // its answer belongs to the slip that stands here
      afterwards = () => open(url, { focus, extra, again });
      return;
    }
    const known = !again && !extra;
    if (known && opening?.url === url) { // it is on its way
      opening.focus ||= focus;
      return;
    }
    if (known && id("slip")?.dataset.url === url) { // it stands there: whatever else was on its way is not wanted
      opening = null;
      if (focus) id("cons").focus({ preventScroll: true });
      return;
    }
    const mine = { url, focus };
    opening = mine;
    get(`${url}?pane=1${extra}`, "pane").then((html) => {
      if (opening !== mine) return; // another one was chosen meanwhile
      opening = null;
      if (html !== null) show(html, mine.focus);
    });
  }

  function show(html, focus) {
    put(id("pane"), html, "innerHTML");
    const slip = id("slip");
    if (!slip) return;
    const here = new URL(location.href);
    here.searchParams.set("open", slip.dataset.request);
    history.replaceState(history.state, "", here);
    send({ type: "watch", request: slip.dataset.request });
    const scroller = document.querySelector(".pscroll");
    if (scroller) scroller.scrollTop = 0;
    if (focus) id("cons").focus({ preventScroll: true });
  }

  function step(by) {
    const links = all(".q-item a[data-open]");
    if (!links.length) return;
    const here = opening ? opening.url : id("slip")?.dataset.url; // on a slow line each press goes one further
    const focused = opening ? -1 : links.indexOf(document.activeElement);
    const current = focused >= 0 ? focused : links.findIndex((one) => one.getAttribute("href") === here);
    const next = links[Math.min(Math.max(current + by, 0), links.length - 1)];
    next.scrollIntoView({ block: "nearest" });
    if (paneOpen()) open(next.getAttribute("href"), { focus: true });
    else next.focus();
  }

  function goOn(from) {
    // After a verdict the next one that waits comes up; the decided row stays where it is.
    const links = all(".q-item a[data-open]");
    const at = links.findIndex((one) => one.dataset.open === from);
    const waits = (one) => one.dataset.open !== from && one.querySelector('.t[data-status="pending"], .t[data-status="unknown"]');
    const next = links.slice(at + 1).find(waits) || links.slice(0, Math.max(at, 0)).find(waits);
    if (next) {
      next.scrollIntoView({ block: "nearest" });
      open(next.getAttribute("href"), { focus: true });
    } else if (id("cons")) id("cons").focus({ preventScroll: true });
  }

  function exact() {
    const slip = id("slip");
    const slot = id("exact");
    if (!slip || !slot) return;
    if (slot.children.length) {
      slot.replaceChildren();
      id("payload").hidden = false;
      return;
    }
    get(slip.dataset.exact, "exact").then((html) => {
      if (html === null || id("exact") !== slot) return;
      htmx.swap(slot, html, { swapStyle: "innerHTML" });
      id("payload").hidden = true;
    });
  }

  // --- events --------------------------------------------------------------------------------------------------------

  document.addEventListener("htmx:wsOpen", (event) => {
    socket = event.detail.socketWrapper;
    frames = acknowledged = 0;
    askedAt = acknowledgedAt = now(); // it begins by telling everything
    unreachable = false;
    lastSign = now();
    greet();
    look();
  });

  document.addEventListener("htmx:wsClose", (event) => {
    socket = null;
    closedAt = now();
    setTimeout(poll, 2100 + 2000 * Math.random());
    if (event.detail.event && event.detail.event.code === 4401) signedOut = true;
    look();
  });

  document.addEventListener("htmx:wsBeforeMessage", () => { telling = true; });

  document.addEventListener("htmx:wsAfterMessage", (event) => {
    telling = unreachable = false;
    lastSign = now();
    frames += 1;
    if (frames - acknowledged >= ACK_FRAMES || now() - acknowledgedAt > ACK_MS) acknowledge();
    if (!event.detail.message.startsWith('<time id="beat"')) told += 1;
    received();
    if (id("beat").dataset.whole) entire(id("beat").dataset.whole);
  });

  function acknowledge() {
    acknowledged = frames;
    acknowledgedAt = now();
    send({ type: "ack", n: frames });
  }

  document.addEventListener("htmx:beforeRequest", (event) => {
    const path = event.detail.requestConfig.path;
    if (event.detail.requestConfig.verb === "post" && offline()) {
      event.preventDefault();
      say("Decisions are off until the connection is back.");
    } else if (path.startsWith("/accounts/login")) {
      event.preventDefault();
    }
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const url = event.detail.xhr.responseURL;
    if (url && new URL(url).pathname.startsWith("/accounts/login")) {
      event.detail.shouldSwap = false;
      signedOut = true;
      look();
    } else if (event.detail.xhr.status === 403 && !event.detail.xhr.responseText.startsWith("<aside")) {
      event.detail.shouldSwap = false; // a whole page: this one is too old, or the session is another one
      trouble("Not taken: this page is too old. Load it again and repeat.");
    } else if (event.detail.target.id === "sign") {
      keep();
    }
  });

  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status >= 500) trouble("Something broke here, and it is not known if this was kept. Load the page again: it says.");
    else if (event.detail.xhr.status === 404) trouble("It is not here any more. Load the page again.");
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr ? event.detail.xhr.status : 0;
    if (status > 0 && status < 500 && !signedOut) {
      unreachable = false;
      lastSign = now();
    }
    look();
    const source = event.detail.elt;
    if (source && source.tagName === "FORM" && source.querySelector("[data-undo-bar]") && event.detail.successful) {
      const back = source.querySelector("[data-undo-bar]").dataset.request;
      id("undo").replaceChildren();
      say("Undone. Nothing was sent.");
      if (id("pane")) open(`/requests/${back}/`, { focus: true, again: true });
    }
    if (afterwards && !sending()) {
      const go = afterwards;
      afterwards = null;
      go();
    }
    if (event.detail.failed && event.detail.requestConfig && event.detail.requestConfig.verb === "post" && !event.detail.xhr.status) trouble("Not sent: no connection.");
  });

  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => {
      unreachable = true;
      look();
    });
  }

  document.addEventListener("htmx:afterSettle", (event) => {
    const where = event.detail.target;
    if (!where) return;
    if (where.id === "pane" || where.id === "main") mark();
    if (where.id === "edit") {
      const area = document.querySelector("#edit details[open] textarea");
      if (area) area.focus();
    }
    look();
  });

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    const piece = fragment.firstElementChild;
    if (!telling || !piece || target.id === "feed") return;
    if (sources.get(target) === piece.outerHTML) event.detail.shouldSwap = false; // told again, and nothing new
    else sources.set(piece, piece.outerHTML);
  });

  document.addEventListener("htmx:oobAfterSwap", () => arm());

  // What appears above the list would move the rows: it waits until no pointer is over them.
  let above = null;
  const overList = () => Boolean(id("queue-list") && id("queue-list").matches(":hover"));
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    if (event.detail.target.id !== "missing") return;
    above = overList() ? event.detail.fragment : null;
    if (!above) return;
    event.detail.shouldSwap = false;
    id("missing").dataset.late = "yes";
  });
  document.addEventListener("pointerover", () => {
    if (!above || overList()) return;
    if (id("missing")) id("missing").replaceWith(above);
    above = null;
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const where = event.detail.target;
    const config = event.detail.requestConfig;
    const made = config && config.verb === "post" && event.detail.xhr.status === 200 ? config.path.match(/([^/]+)\/(decision|undo)\/$/) : null;
    if (made && made[2] === "decision" && drafts.has(made[1])) drafts.get(made[1]).sent = true;
    if (where && (where.id === "pane" || where.id === "main" || where.id === "sign")) restore();
    if (where && (where.id === "pane" || where.id === "main")) appeared(); // not when it settles: a press may come before
    else if (where && where.id === "sign") {
      if (id("decide")) fresh();
      else arm();
    }
    title();
    if (!made) return;
    if (made[2] === "decision") {
      if (!id("pane")) id("cons")?.focus({ preventScroll: true });
      else if (!afterwards) goOn(made[1]);
    } else {
      appeared();
      if (id("cons")) id("cons").focus({ preventScroll: true });
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button.v");
    if (button && (button.getAttribute("aria-disabled") === "true" || (button.name === "verdict" && now() - appearedAt < FRESH_MS))) {
      event.preventDefault();
      event.stopImmediatePropagation();
      const why = id("why-off");
      if (why && why.textContent.trim()) say(why.textContent.trim());
    }
  }, true);

  document.addEventListener("submit", (event) => {
    const mute = Boolean(event.submitter && event.submitter.matches("button.nothing")); // Enter never decides
    if (mute || (offline() && event.target.method === "post")) {
      event.preventDefault();
      event.stopImmediatePropagation();
      if (!mute) say("Decisions are off until the connection is back.");
    }
  }, true);

  document.addEventListener("click", (event) => {
    if (!event.target.closest || event.defaultPrevented) return;
    const plain = !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0;
    const link = event.target.closest("a[data-open]");
    if (link && plain && paneOpen()) {
      event.preventDefault();
      open(link.getAttribute("href"), { focus: true });
      return;
    }
    if (event.target.closest("#to-exact") && plain) {
      event.preventDefault();
      exact();
    } else if (event.target.closest("[data-parts]") && plain && id("pane")) {
      event.preventDefault();
      open(id("slip").dataset.url, { extra: "&parts=all" });
    } else if (event.target.closest("[data-no-edit]") && plain && id("approve")) {
      event.preventDefault();
      id("edit").replaceChildren();
      verdictWord();
      arm();
    } else if (event.target.closest("[data-help]")) {
      help();
    } else if (event.target.closest("#pill")) {
      bring("#queue-list");
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-filters] select") && pointed) event.target.form.requestSubmit();
    if (event.target.id === "keys-on") {
      localStorage.setItem("keys", event.target.checked ? "on" : "off");
      root.classList.toggle("keys-off", !event.target.checked);
    }
  });

  // With keys a filter changes at each arrow and each letter, long before a choice is made: Enter or the button makes it.
  let pointed = false;
  document.addEventListener("pointerdown", () => { pointed = true; }, true);
  document.addEventListener("keydown", (event) => {
    pointed = false;
    if (event.key !== "Enter" || !event.target.matches || !event.target.matches("[data-filters] select")) return;
    const applied = all("option", event.target).find((one) => one.defaultSelected)?.value ?? "";
    if (event.target.value === applied) return; // it opens the list, as everywhere
    event.preventDefault();
    event.target.form.requestSubmit();
  }, true);

  document.addEventListener("input", (event) => {
    if (event.target.closest("#editing")) arm();
  });
  document.addEventListener("compositionstart", () => { composing = true; });
  document.addEventListener("compositionend", () => {
    composing = false;
    stub();
  });

  function help() {
    const here = id("live")?.dataset.page || "";
    for (const one of all("#help [data-on]")) one.hidden = !one.dataset.on.split(" ").includes(here);
    for (const one of all("#help [data-needs]")) one.hidden = !document.querySelector(one.dataset.needs);
    id("help").showModal();
  }

  const press = (selector) => {
    const found = document.querySelector(selector);
    if (found) found.click();
    return Boolean(found);
  };

  const KEYS = {
    j: () => (id("queue-list") ? step(1) : press('[data-go="after"]') || press("#next")),
    k: () => (id("queue-list") ? step(-1) : press('[data-go="before"]')),
    o: () => {
      const row = document.activeElement && document.activeElement.matches(".q-item a") ? document.activeElement : id("alone");
      if (row) location.assign(row.getAttribute("href"));
    },
    a: () => press("#approve"),
    r: () => press('#sign button[name="verdict"][value="reject"]'),
    e: () => press("#to-edit"),
    u: () => press("[data-undo]") || press("[data-undo-bar]"),
    v: exact,
    n: () => id("pill") && !id("pill").hidden && id("pill").click(),
    "/": () => document.querySelector('input[type="search"]')?.focus(),
    "?": () => help(),
  };
  for (const number of ["1", "2", "3", "4"]) KEYS[number] = () => all('#decide input[name="because"]')[Number(number) - 1]?.click();

  document.addEventListener("focusin", (event) => {
    if (event.target.matches(".q-item a[data-open]")) rove();
  });

  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && at.matches && at.matches(".q-item a[data-open]")) {
      const links = all(".q-item a[data-open]");
      const next = links[links.indexOf(at) + (event.key === "ArrowDown" ? 1 : -1)];
      if (next) next.focus();
      event.preventDefault();
      return;
    }
    if (event.key === "Enter" && at.matches && at.matches("#decide input")) event.preventDefault(); // it would send the form
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !keysOn()) return;
    const typing = at.matches && at.matches('input:not([type="radio"]):not([type="checkbox"]), textarea, select, [contenteditable]');
    if (typing || document.querySelector("dialog[open]") || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    if ((event.repeat && event.key !== "j" && event.key !== "k") || ("arueo".includes(event.key) && now() - appearedAt < FRESH_MS)) return;
    KEYS[event.key]();
  });

  // --- the clock -----------------------------------------------------------------------------------------------------

  function tick() {
    for (const one of all("time[data-age]")) write(one, span(there() - Date.parse(one.dateTime), one.dataset.age === "short"));
    for (const one of all("time[data-left]")) write(one, span(Date.parse(one.dateTime) - there(), one.dataset.left === "short"));
    for (const one of all("[data-dial]")) {
      const from = Date.parse(one.dataset.from);
      const to = Date.parse(one.dataset.to);
      const share = Math.min(Math.max((to - there()) / Math.max(to - from, 1000), 0), 1);
      one.querySelector(".p").setAttribute("stroke-dasharray", `${(share * 18.85).toFixed(2)} 18.85`);
      const soon = to - there() < 300000;
      if (one.closest(".t")) one.closest(".t").classList.toggle("soon", soon);
      if (one.closest(".clock")) one.closest(".clock").classList.toggle("soon", soon);
    }
    const bar = document.querySelector(".undo");
    if (bar) {
      const until = Date.parse(bar.dataset.until);
      const whole = Math.max(until - Date.parse(bar.dataset.from), 1);
      const rest = Math.max(until - there(), 0);
      bar.querySelector(".drain rect").setAttribute("width", String((100 * rest) / whole));
      if (rest === 0 && bar.querySelector("[data-leaves] time") && !bar.dataset.over) {
        bar.dataset.over = "1";
        write(bar.querySelector("[data-leaves]"), "On its way.");
        bar.querySelector("form")?.remove();
        setTimeout(() => bar.remove(), 4000);
      }
    }
    for (const [name, piece] of waitingForSelection) {
      const here = id(name);
      const selection = document.getSelection();
      if (here && selection && !selection.isCollapsed && here.contains(selection.anchorNode)) continue;
      if (here) swapIn(here, piece);
      waitingForSelection.delete(name);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    // After a restart every page comes back, each second a few of them; meanwhile they ask by themselves.
    htmx.config.wsReconnectDelay = (count) => Math.random() * Math.min(15000, 8000 * 1.5 ** Math.min(count, 6));
    sure = Number(id("timeline")?.dataset.seq || 0);
    root.classList.toggle("keys-off", !keysOn());
    if (id("keys-on")) id("keys-on").checked = keysOn();
    appeared();
    mark();
    mine();
    tick();
    setInterval(() => { tick(); look(); again(); }, 1000);
    setInterval(() => { if (socket && frames > acknowledged && now() - acknowledgedAt > ACK_MS) acknowledge(); }, 2000);
    setInterval(poll, POLL_S * 1000);
    setTimeout(poll, 1500);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });
  window.addEventListener("online", wake);
  window.addEventListener("offline", look);
  window.addEventListener("beforeprint", () => {
    for (const one of all("details:not([open])")) {
      one.dataset.printed = "";
      one.open = true;
    }
  });
  window.addEventListener("afterprint", () => {
    for (const one of all("details[data-printed]")) {
      delete one.dataset.printed;
      one.open = false;
    }
  });
})();
