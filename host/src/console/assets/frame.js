// @ts-check
// Every page: the zone of the browser, keys, copying, and times that keep up. Reading needs none.
const root = document.documentElement;

// The server prints times; it learns the zone by a cookie, once.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
/** @param {string} name */
const cookie = (name) =>
  document.cookie.split('; ').find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1);
if (zone && decodeURIComponent(cookie('weir_zone') ?? '') !== zone) {
  document.cookie = `weir_zone=${encodeURIComponent(zone)};path=/;max-age=31536000;samesite=strict`;
  if (cookie('weir_zone') && zone !== 'UTC' && !cookie('weir_utc')) location.reload();
}

// Copying, for every button that names its text; said to screen readers too.
const said = document.createElement('p');
said.className = 'vh';
said.setAttribute('role', 'status');
document.body.append(said);
/** @param {ParentNode} within */
const showCopies = (within) => {
  for (const button of within.querySelectorAll('[data-copy],[data-script]')) {
    button.removeAttribute('hidden');
  }
};
showCopies(document);
document.addEventListener('click', async (event) => {
  const button = event.target instanceof Element && event.target.closest('[data-copy]');
  if (!(button instanceof HTMLElement)) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? '');
    said.textContent = button.textContent = 'Copied';
  } catch {
    said.textContent = button.textContent = 'Not copied';
  }
  setTimeout(() => { button.textContent = label; }, 1500);
});

// A click on a key of JSON copies the pointer of its line.
document.addEventListener('click', (event) => {
  const key = event.target instanceof Element && event.target.closest('.js b');
  const line = key && key.closest('[title]');
  if (!key || !(line instanceof HTMLElement)) return;
  event.preventDefault();
  navigator.clipboard?.writeText(line.title).then(() => {
    said.textContent = `Copied ${line.title}`;
    key.classList.add('copied');
    setTimeout(() => key.classList.remove('copied'), 1500);
  }, () => {});
});

// Distances in time, each second, in place.
/** @param {number} s */
const two = (s) =>
  s < 60 ? `${s} s`
  : s < 3600 ? `${Math.floor(s / 60)} min${s % 60 ? ` ${s % 60} s` : ''}`
  : s < 86400 ? `${Math.floor(s / 3600)} h${Math.floor(s / 60) % 60 ? ` ${Math.floor(s / 60) % 60} min` : ''}`
  : `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
/** @param {number} s */
const one = (s) =>
  s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll('time[data-relative]')) {
    const s = Math.floor((Date.now() - Date.parse(/** @type {HTMLTimeElement} */ (time).dateTime)) / 1000);
    const text = s < 0 ? `in ${two(-s)}` : s === 0 ? 'now' : `${one(s)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}, 1000);

// One click on the box in a table's head selects every row of the page.
document.addEventListener('change', (event) => {
  const box = event.target;
  if (!(box instanceof HTMLInputElement)) return;
  if (box.matches('[data-all]')) {
    for (const other of boxes()) other.checked = box.checked;
  }
  count();
});
const boxes = () => /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('[data-row] input[type=checkbox]')]);
const count = () => {
  const chosen = boxes().filter((box) => box.checked).length;
  for (const place of document.querySelectorAll('[data-chosen]')) place.textContent = String(chosen);
  for (const bar of document.querySelectorAll('[data-when-chosen]')) bar.toggleAttribute('data-on', chosen > 0);
};
count();

// Keys. None of them acts on data.
const rows = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-row]')].filter((row) => row instanceof HTMLElement && row.offsetParent));
let last = -1;
/** @param {number} step */
const move = (step) => {
  const all = rows();
  const from = all.findIndex((row) => row.classList.contains('cur'));
  const at = Math.max(0, Math.min(all.length - 1, from < 0 ? 0 : from + step));
  all[from]?.classList.remove('cur');
  const row = all[at];
  if (!row) return;
  row.classList.add('cur');
  row.scrollIntoView({ block: 'nearest' });
  /** @type {HTMLElement | null} */ (row.querySelector('[data-open]'))?.focus({ preventScroll: true });
};
/** @param {string} selector */
const press = (selector) => {
  const target = document.querySelector(selector);
  if (target instanceof HTMLElement) target.click();
};
const places = { o: '/', e: '/events', d: '/dead-letters', q: '/quarantine', s: '/sources', h: '/handlers' };
let going = false;
document.addEventListener('keydown', (event) => {
  const keys = /** @type {HTMLDialogElement} */ (document.getElementById('keys'));
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (target.matches('input:not([type=checkbox]),textarea,select,[contenteditable]')) {
    if (event.key === 'Escape') target.blur();
    return;
  }
  if (root.dataset.keys === 'off' && event.key !== '?') return;
  if (going) {
    going = false;
    const place = places[/** @type {keyof typeof places} */ (event.key)];
    if (place) location.assign(place);
    return;
  }
  const at = rows().findIndex((row) => row.classList.contains('cur'));
  const box = rows()[at]?.querySelector('input[type=checkbox]');
  /** @type {Record<string, () => void>} */
  const acts = {
    '/': () => document.getElementById('find')?.focus(),
    '?': () => (keys.open ? keys.close() : keys.showModal()),
    j: () => move(1),
    k: () => move(-1),
    o: () => press('.cur [data-open]'),
    g: () => { going = true; setTimeout(() => { going = false; }, 1500); },
    '[': () => press('a[rel=prev]'),
    ']': () => press('a[rel=next]'),
    l: () => press('[data-live-switch]'),
    '.': () => press('[data-live-show]'),
    Escape: () => {
      for (const chosen of boxes()) chosen.checked = false;
      count();
    },
  };
  if (event.key.toLowerCase() === 'x' && box instanceof HTMLInputElement) {
    const [first, end] = event.shiftKey && last >= 0 ? [Math.min(last, at), Math.max(last, at)] : [at, at];
    const chosen = event.shiftKey ? true : !box.checked;
    for (const row of rows().slice(first, end + 1)) {
      const one = row.querySelector('input[type=checkbox]');
      if (one instanceof HTMLInputElement) one.checked = chosen;
    }
    last = at;
    count();
    return;
  }
  const act = acts[event.key];
  if (!act || (keys.open && event.key !== '?')) return;
  if (event.key !== 'Escape') event.preventDefault();
  act();
});
