// @ts-check
// What is live: new rows of the list of events, and the first event of a new hub. Rows are text put
// into clones of a template; nothing here becomes markup.
export {};

/** @typedef {{id: string, source: string, type: string, status: string, received_at: string,
 *   delivery_id: string | null, size: number, deliveries: {state: string}[]}} Row */
/** @typedef {{rows: Row[], count: number, gap: boolean}} Frame */

const ROWS_MAX = 300;
const HIDDEN_MS = 10_000;
const FLUSH_MS = 500;

const waits = document.querySelector('[data-first-event]');
if (waits) {
  const stream = new EventSource('/api/v1/events/live');
  stream.addEventListener('events', (event) => {
    /** @type {Frame} */
    const frame = JSON.parse(event.data);
    const first = frame.rows.find((row) => row.source !== 'weir');
    if (first) location.assign(`/events/${first.id}`);
  });
}

const bar = /** @type {HTMLElement | null} */ (document.querySelector('[data-live]'));
if (bar) live(bar);

/** @param {HTMLElement} bar */
function live(bar) {
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (bar.querySelector(`[data-live-${name}]`));
  const [state, said, show, turn] = ['state', 'said', 'show', 'switch'].map(part);
  const body = /** @type {HTMLTableSectionElement} */ (document.querySelector('table.ev tbody'));
  const template = /** @type {HTMLTemplateElement} */ (document.querySelector('#live-row'));
  /** @type {Record<string, [string, string]>} */
  const words = JSON.parse(bar.dataset.words ?? '{}');
  const isUtc = document.cookie.includes('weir_utc=');
  const clock = new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3,
    ...(isUtc ? { timeZone: 'UTC' } : {}),
  });
  /** @type {Row[]} */
  let waiting = [];
  let count = 0;
  let gap = false;
  let hover = false;
  let off = false;
  let lost = '';
  /** @type {[number, number][]} */
  let recent = [];
  /** @type {EventSource | undefined} */
  let stream;
  let timer = 0;

  const why = () =>
    document.querySelector('dialog[open]') ? 'a dialog is open'
    : body.querySelector(':checked') || body.querySelector('[aria-selected]') ? 'a row is selected'
    : window.scrollY > 80 ? 'you scrolled'
    : body.contains(document.activeElement) || body.querySelector('.cur') ? 'a row has the focus'
    : hover ? 'you point at a row' : '';

  const draw = () => {
    const now = Date.now();
    recent = recent.filter(([at]) => now - at < 5000);
    const rate = recent.reduce((sum, [, n]) => sum + n, 0) / 5;
    const reason = why();
    state.className = `live${off || lost ? ' off' : reason && count ? ' still' : ''}`;
    state.textContent = off ? 'Off' : lost ? `Not live since ${lost}` : reason && count ? 'Holding' : 'Live';
    said.textContent = off ? 'The list stands still.'
      : lost ? 'No answer, or the session has ended. What you see was there.'
      : gap ? 'More happened than the view takes.'
      : reason && count ? `${count} new. The list holds still: ${reason}.`
      : rate >= 40 ? `${Math.round(rate)} a second. The view takes 40 a second; counts are exact.`
      : rate >= 0.2 ? `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} a second` : 'waiting for events';
    show.toggleAttribute('hidden', !count);
    show.textContent = `Show ${count} new`;
    turn.textContent = off ? 'Go live' : 'Stop';
  };

  const insert = () => {
    for (const row of waiting.reverse()) {
      const old = document.getElementById(row.id);
      if (old) continue;
      body.prepend(drawn(row));
    }
    while (body.rows.length > ROWS_MAX) body.rows[body.rows.length - 1]?.remove();
    [waiting, count, gap] = [[], 0, false];
  };

  /** @param {Row} row */
  const drawn = (row) => {
    const tr = /** @type {HTMLTableRowElement} */ (template.content.firstElementChild?.cloneNode(true));
    const cell = (/** @type {string} */ name) => /** @type {HTMLElement} */ (tr.querySelector(`[data-${name}]`));
    const isAlert = row.source === 'weir' && row.status === 'unrouted';
    const [shape, word] = words[isAlert ? 'alert' : row.status] ?? ['wait', row.status];
    tr.id = row.id;
    tr.classList.add('new');
    cell('box').setAttribute('value', row.id);
    cell('box').setAttribute('aria-label', `Select ${row.id}`);
    const time = cell('at');
    time.setAttribute('datetime', row.received_at);
    time.title = row.received_at;
    time.textContent = clock.format(new Date(row.received_at));
    cell('peek').setAttribute('href', `/events?sel=${row.id}`);
    cell('status').className = `st ${shape}`;
    if (shape === 'ok') {
      const hidden = document.createElement('span');
      hidden.className = 'vh';
      hidden.textContent = word;
      cell('status').append(hidden);
    } else {
      cell('status').textContent = word;
      cell('word').dataset.w = word;
    }
    foreign(cell('source'), row.source);
    foreign(cell('type'), row.type);
    cell('link').setAttribute('href', `/events/${row.id}`);
    foreign(cell('link'), row.delivery_id ?? row.id);
    const done = row.deliveries.filter((one) => ['processed', 'cancelled'].includes(one.state)).length;
    cell('targets').textContent = row.deliveries.length ? `${done}/${row.deliveries.length}` : 'none';
    cell('size').textContent = row.size < 1000 ? `${row.size} bytes` : `${(row.size / 1000).toFixed(1)} kB`;
    return tr;
  };

  const open = () => {
    stream?.close();
    stream = new EventSource(bar.dataset.live ?? '');
    stream.addEventListener('open', () => { lost = ''; draw(); });
    stream.addEventListener('error', () => {
      lost ||= clock.format(new Date()).slice(0, 8);
      // The hub refused: the browser does not try again.
      if (stream?.readyState === 2) timer = window.setTimeout(() => { if (!off) open(); }, HIDDEN_MS);
      draw();
    });
    stream.addEventListener('events', (event) => {
      /** @type {Frame} */
      const frame = JSON.parse(event.data);
      recent.push([Date.now(), frame.count]);
      waiting = [...frame.rows, ...waiting].slice(0, ROWS_MAX);
      count += frame.count;
      gap ||= frame.gap;
    });
  };

  const close = () => {
    stream?.close();
    stream = undefined;
  };

  setInterval(() => {
    if (count && !off && !why()) insert();
    draw();
  }, FLUSH_MS);
  body.addEventListener('pointerenter', () => { hover = true; });
  body.addEventListener('pointerleave', () => { hover = false; });
  show.addEventListener('click', () => { insert(); window.scrollTo(0, 0); draw(); });
  turn.addEventListener('click', () => {
    off = !off;
    if (off) close(); else open();
    draw();
  });
  // A browser has six connections to a host: forgotten tabs must not take them.
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) timer = window.setTimeout(close, HIDDEN_MS);
    else if (!stream && !off) { gap = true; open(); }
  });
  bar.removeAttribute('hidden');
  open();
  draw();
}

/** Text of a stranger: characters that hide or reorder are named.
 * @param {HTMLElement} place @param {string} text */
function foreign(place, text) {
  place.textContent = '';
  for (const part of text.slice(0, 120).split(/([\p{C}\p{Zl}\p{Zp}])/u)) {
    if (!/^[\p{C}\p{Zl}\p{Zp}]$/u.test(part)) { place.append(part); continue; }
    const box = document.createElement('span');
    box.className = 'u';
    box.textContent = `U+${part.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}`;
    place.append(box);
  }
}
