import { Brush, Overlay, VOID } from "/editor.js";

const $ = (id) => document.getElementById(id);
const page = Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) => each.toString(16).padStart(2, "0")).join("");
const overlay = new Overlay($("overlay"));
const state = { images: [], current: null, words: null, hidden: new Set(), mode: "look", paint: 0, server: null };

const make = (tag, text, name) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
};
const percent = (share) => (share === 0 ? "–" : share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(1)} %`);
const number = (value) => (value === null ? "" : Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

class Problem extends Error {
  constructor(status, parts) {
    super(`${parts.found}. ${parts.fix}`);
    this.status = status;
  }
}

let toastTimer;
function say(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 9000);
}

async function call(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { "X-Lexiseg-Page": page, ...options.headers } });
    } catch {
      throw new Problem(0, { found: "The server does not answer", fix: "Is lexiseg serve still running?" });
    }
    if (response.ok) return response;
    if ((response.status === 429 || response.status === 503) && attempt < 20) {
      await pause(Number(response.headers.get("Retry-After") || 2));
      continue;
    }
    let parts = { found: `status ${response.status}`, fix: "" };
    try {
      parts = (await response.json()).error;
    } catch {
      // an answer that is no JSON says nothing more
    }
    throw new Problem(response.status, parts);
  }
}
const callJson = async (path, body, method = "POST") =>
  (await call(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();

// Images

async function upload(image) {
  const sent = await call(`/api/images?name=${encodeURIComponent(image.file.name.slice(0, 300))}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: image.file,
  });
  Object.assign(image, await sent.json());
  if (!image.preview) image.preview = URL.createObjectURL(await (await call(`/api/images/${image.id}/preview`)).blob());
}

/** Does something with an uploaded image; one that the server has forgotten is uploaded again. */
async function withImage(image, action) {
  if (!image.id) await upload(image);
  try {
    return await action(image.id);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    await upload(image);
    if (image.words !== undefined && image.words !== null) await ask(image);
    return action(image.id);
  }
}

async function ask(image) {
  const words = state.words;
  const answer = await callJson(`/api/images/${image.id}/answer`, words === "" ? {} : { words });
  const labels = new Uint16Array(await (await call(`/api/images/${image.id}/labels?revision=${answer.revision}`)).arrayBuffer());
  Object.assign(image, { answer, labels, words, brush: new Brush(), problem: null });
}

let running = null;
function run() {
  running = (running || Promise.resolve()).then(work);
  return running;
}
async function work() {
  const todo = state.images.filter((image) => !image.failed && (!image.id || (state.words !== null && image.words !== state.words)));
  let done = 0;
  for (const image of todo) {
    progress(done, todo.length, image.file.name);
    if (image === state.current || !state.current) busy(image.id ? "asking" : "reading the image");
    try {
      if (!image.id) await withImage(image, async () => {});
      if (state.current === null || state.current === image) show(image);
      if (state.words !== null && image.words !== state.words) {
        if (image === state.current) busy("looking for the words");
        await withImage(image, () => ask(image));
      }
    } catch (problem) {
      image.problem = problem.message;
      image.failed = !image.id;
      if (problem.status === 422 && image.id) state.words = null;
      say(`${image.file.name}: ${problem.message}`);
    }
    done += 1;
    if (image === state.current) show(image);
    strip();
    if (state.words === null && image.id && image.problem) break;
  }
  busy("");
  progress(done, todo.length, "");
}

function add(files) {
  const known = [...files].filter((file) => file.size > 0 && !file.name.startsWith("."));
  const large = known.filter((file) => file.size > state.server.max_upload_mb * 2 ** 20);
  if (large.length) say(`${large[0].name} is larger than ${state.server.max_upload_mb} MB${large.length > 1 ? `, and ${large.length - 1} more are` : ""}.`);
  for (const file of known) if (!large.includes(file)) state.images.push({ file });
  $("go").disabled = !state.images.length;
  strip();
  run();
}

// What is shown

function busy(text) {
  $("busy").hidden = !text;
  $("busy-text").textContent = text;
}
function progress(done, count, name) {
  $("batch").hidden = state.images.length < 2;
  $("progress").value = count ? done / count : 1;
  $("progress-text").textContent = done < count ? `${done + 1} of ${count}: ${name}` : `${state.images.filter((image) => image.answer).length} of ${state.images.length} images are segmented`;
}
function strip() {
  $("strip").hidden = state.images.length < 2;
  $("strip").replaceChildren(
    ...state.images.slice(0, 400).map((image) => {
      const button = make("button");
      button.type = "button";
      button.title = image.problem ? `${image.file.name}: ${image.problem}` : image.file.name;
      button.setAttribute("aria-current", String(image === state.current));
      if (image.preview) {
        const small = make("img");
        small.src = image.preview;
        small.alt = image.file.name;
        button.append(small);
      }
      button.append(make("span", image.failed || image.problem ? "!" : image.answer ? "✓" : image.id ? "" : "…", "mark"));
      button.onclick = () => image.id && show(image);
      return button;
    }),
  );
}
function show(image) {
  const isOther = state.current !== image;
  state.current = image;
  $("view").hidden = false;
  $("drop").classList.add("small");
  if ($("photo").src !== image.preview) $("photo").src = image.preview;
  $("photo").alt = image.file.name;
  $("overlay").hidden = !image.answer;
  for (const id of ["tools", "classes-box", "download-box"]) $(id).hidden = !image.answer;
  if (isOther) $("why-box").hidden = true;
  $("download-all").hidden = state.images.length < 2;
  if (image.answer) {
    overlay.show(image.labels, image.width, image.height, image.answer.classes, state.hidden);
    if (!image.answer.classes.some((each) => each.label === state.paint)) state.paint = 0;
    classes(image);
    $("undo").disabled = !image.brush.strokes.length;
  }
  strip();
}
function classes(image) {
  const chance = image.answer.absent_chance;
  $("doubt").hidden = !(chance > 0.05);
  $("doubt").textContent = `Perhaps none of these is in the image: in ${percent(chance || 0)} of photographs, words that are not there score as high.`;
  const listed = [...image.answer.classes].sort((one, other) => other.share - one.share);
  if (state.mode === "brush") listed.push({ label: VOID, name: "void", colour: "#808080", share: null });
  $("classes").replaceChildren(
    ...listed.map((each) => {
      const item = make("li"), button = make("button"), swatch = make("span", "", "swatch");
      button.type = "button";
      swatch.style.background = each.colour;
      button.append(swatch, make("span", each.name, "name"), make("span", each.share === null ? "" : percent(each.share), "share"));
      button.classList.toggle("chosen", state.mode === "brush" && each.label === state.paint);
      button.classList.toggle("off", state.mode === "look" && state.hidden.has(each.label));
      button.onclick = () => {
        if (state.mode === "brush") state.paint = each.label;
        else if (!state.hidden.delete(each.label)) state.hidden.add(each.label);
        overlay.recolour(image.answer.classes, state.hidden);
        classes(image);
      };
      item.append(button);
      return item;
    }),
  );
}

// Why

let asking = false, wanted = null;
async function why(image, point) {
  wanted = { image, point };
  if (asking) return;
  asking = true;
  while (wanted) {
    const now = wanted;
    wanted = null;
    try {
      const found = await withImage(now.image, (id) => callJson(`/api/images/${id}/explanation`, now.point));
      if (now.image === state.current) explain(found);
    } catch (problem) {
      say(problem.message);
    }
    await pause(0.08);
  }
  asking = false;
}
function explain(found) {
  const box = $("why");
  box.replaceChildren(make("p", found.verdict));
  const largest = Math.max(...found.ranking.map((each) => Math.abs(each.value || 0)), 1e-9);
  const table = make("table");
  for (const each of found.ranking.slice(0, 5)) {
    const row = make("tr"), cell = make("td"), bar = make("div", "", "bar");
    bar.style.width = `${(100 * Math.max(0, each.value)) / largest}%`;
    cell.append(make("span", each.name), bar);
    row.append(cell, make("td", number(each.value)));
    table.append(row);
  }
  if (found.ranking.length) box.append(make("h3", `${found.measure}${found.lower_wins ? ", the least wins" : ""}`), table);
  const evidence = found.evidence.filter((each) => !(each.kind === "word" && each.measure === found.measure));
  const groups = new Map();
  for (const each of evidence) {
    const key = `For ${each.supports}: ${each.measure}`;
    groups.set(key, [...(groups.get(key) || []), each]);
  }
  for (const [title, members] of groups) {
    const list = make("table");
    for (const each of members) {
      const row = make("tr"), cell = make("td");
      if (each.image) {
        const picture = make("img");
        picture.src = `data:image/jpeg;base64,${each.image}`;
        picture.alt = each.name;
        cell.append(picture);
      }
      cell.append(make("span", each.kind === "word" ? each.name : `${each.name} (${each.kind})`));
      row.append(cell, make("td", number(each.value)));
      list.append(row);
    }
    box.append(make("h3", title), list);
  }
  for (const note of found.notes) box.append(make("p", note, "muted"));
  if (!$("tip").hidden && $("tip").textContent === found.label) $("tip").textContent = `${found.label} ${number(found.score)}${found.runner_up ? `\nthen ${found.runner_up}, ${number(Math.abs(found.margin ?? 0))} behind` : ""}`;
  $("why-box").hidden = false;
}

// Pointer

function pointOf(event) {
  const box = $("overlay").getBoundingClientRect(), image = state.current;
  const x = ((event.clientX - box.left) / box.width) * image.width;
  const y = ((event.clientY - box.top) / box.height) * image.height;
  return { x, y, left: event.clientX - box.left, top: event.clientY - box.top, scale: image.width / box.width, wide: box.width };
}
const within = (point, image) => point.x >= 0 && point.y >= 0 && point.x < image.width && point.y < image.height;

let last = null, timer = null;
function look(event) {
  const image = state.current, point = pointOf(event);
  if (!image?.answer || !within(point, image)) return;
  const pixel = { x: Math.floor(point.x), y: Math.floor(point.y) };
  const label = image.labels[pixel.y * image.width + pixel.x];
  const found = image.answer.classes.find((each) => each.label === label);
  $("tip").hidden = false;
  $("tip").textContent = found ? found.name : "void";
  $("tip").style.left = `${Math.min(Math.max(point.left, 40), point.wide - 40)}px`;
  $("tip").style.top = `${Math.max(point.top, 44)}px`;
  clearTimeout(timer);
  timer = setTimeout(() => why(image, pixel), 120);
}
function cursor(event) {
  const point = pointOf(event), size = Number($("size").value);
  Object.assign($("cursor").style, { left: `${point.left}px`, top: `${point.top}px`, width: `${size}px`, height: `${size}px` });
  $("cursor").hidden = event.pointerType === "touch";
}
function stroke(event) {
  const image = state.current, point = pointOf(event);
  const radius = Math.max(0.6, (Number($("size").value) / 2) * point.scale);
  overlay.repaint(...image.brush.line(image.labels, image.width, image.height, last || point, point, radius, state.paint));
  last = point;
}
const surface = $("overlay");
surface.addEventListener("pointerdown", (event) => {
  if (!state.current?.answer) return;
  if (state.mode === "look") return look(event);
  surface.setPointerCapture(event.pointerId);
  state.current.brush.begin(state.current.labels);
  last = null;
  stroke(event);
});
surface.addEventListener("pointermove", (event) => {
  if (!state.current?.answer) return;
  if (state.mode === "look") return event.pointerType === "touch" ? undefined : look(event);
  cursor(event);
  if (event.buttons && surface.hasPointerCapture(event.pointerId)) stroke(event);
});
surface.addEventListener("pointerup", () => {
  if (state.mode === "brush" && state.current?.answer && last) save(state.current);
  last = null;
});
surface.addEventListener("pointercancel", () => (last = null));
surface.addEventListener("pointerleave", () => {
  $("tip").hidden = $("cursor").hidden = true;
  clearTimeout(timer);
});

async function save(image) {
  const put = (id) => call(`/api/images/${id}/labels`, { method: "PUT", headers: { "Content-Type": "application/octet-stream" }, body: image.labels.slice().buffer });
  try {
    const kept = image.labels;
    image.answer = await (
      await withImage(image, (id) => {
        image.labels = kept; // asking a forgotten image anew has replaced them
        return put(id);
      })
    ).json();
    if (image === state.current) show(image);
  } catch (problem) {
    say(problem.message);
  }
}
function setMode(mode) {
  state.mode = mode;
  document.body.classList.toggle("brush", mode === "brush");
  $("mode-look").setAttribute("aria-pressed", String(mode === "look"));
  $("mode-brush").setAttribute("aria-pressed", String(mode === "brush"));
  $("brush-tools").hidden = mode !== "brush";
  $("tip").hidden = true;
  $("hint").textContent = mode === "brush" ? "Choose a class, then draw over the image. Downloads hold what you drew." : "Point at the image to see why. A class is hidden and shown by a click.";
  if (state.current?.answer) classes(state.current);
}

async function download(images) {
  const ready = images.filter((image) => image.answer);
  try {
    for (const image of ready) {
      // One that was forgotten is brought back, with its corrections.
      const kept = image.labels, corrected = image.answer.corrected;
      await withImage(image, (id) => call(`/api/images/${id}/labels?revision=${image.answer.revision}`, { method: "GET" }));
      if (corrected && !image.answer.corrected) {
        image.labels = kept;
        await save(image);
      }
    }
    const response = await call("/api/download", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ images: ready.map((image) => image.id), format: $("format").value }),
    });
    const link = make("a");
    link.download = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))?.[1] || "labels";
    link.href = URL.createObjectURL(await response.blob());
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (problem) {
    say(problem.message);
  }
}

// Controls

$("ask").onsubmit = (event) => {
  event.preventDefault();
  const words = $("words").value.trim();
  if (!words && !state.server.vocabulary) return say("Type what is to be found, separated by commas.");
  if (!state.images.length) return say("Drop a photograph first.");
  state.words = words;
  state.hidden.clear();
  run();
};
$("opacity").oninput = () => (surface.style.opacity = Number($("opacity").value) / 100);
surface.style.opacity = 0.55;
$("mode-look").onclick = () => setMode("look");
$("mode-brush").onclick = () => setMode("brush");
$("undo").onclick = () => {
  const before = state.current?.brush.undo();
  if (!before) return;
  state.current.labels = before;
  save(state.current);
};
$("download-one").onclick = () => download([state.current]);
$("download-all").onclick = () => download(state.images);
$("toast").onclick = () => ($("toast").hidden = true);
$("choose").onclick = () => $("files").click();
$("choose-folder").onclick = () => $("folder").click();
for (const id of ["files", "folder"])
  $(id).onchange = () => {
    add($(id).files);
    $(id).value = "";
  };
for (const kind of ["dragover", "drop", "dragleave"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});

state.server = await (await call("/api/state")).json();
$("about").textContent = `Model: ${state.server.model}`;
$("notice").textContent = state.server.notice || "";
setMode("look");
$("limits").textContent = `Up to ${state.server.max_upload_mb} MB and ${state.server.max_megapixels} megapixels each. Images stay on the machine that runs this server.`;
if (state.server.vocabulary) $("words").placeholder = `all ${state.server.vocabulary.length} classes of the model: ${state.server.vocabulary.slice(0, 4).join(", ")}, …`;
for (const [name, title] of Object.entries(state.server.formats)) {
  const option = make("option", title);
  option.value = name;
  $("format").append(option);
}
$("format").value = "coco";
