// @ts-check
// The overview keeps up: every five seconds, while it is looked at, the page is read again and takes
// the place of what is shown. Nothing moves while someone uses it.
export {};

const EVERY_MS = 5_000;
let asks = false;

const isUsed = () =>
  document.querySelector('dialog[open], details[open], main :focus, main :is(a, button):hover') !== null
  || getSelection()?.isCollapsed === false;

/** @param {Document} page */
const take = (page) => {
  for (const part of ['main', '.side']) {
    const [old, fresh] = [document.querySelector(part), page.querySelector(part)];
    if (old && fresh && !old.isEqualNode(fresh)) old.replaceChildren(...fresh.childNodes);
  }
};

const lose = () => {
  const place = document.querySelector('[data-lost]');
  if (!place?.hasAttribute('hidden')) return;
  place.textContent = `Not updated since ${new Date().toLocaleTimeString('en-GB')}: the hub does not answer, or the session has ended.`;
  place.removeAttribute('hidden');
};

setInterval(() => {
  if (document.hidden || asks || isUsed()) return;
  asks = true;
  const ask = new XMLHttpRequest();
  ask.open('GET', location.href);
  ask.responseType = 'document';
  ask.timeout = EVERY_MS;
  ask.addEventListener('loadend', () => {
    asks = false;
    const page = ask.responseXML;
    // A session that has ended leads to another page.
    if (ask.status !== 200 || !page || ask.responseURL !== location.href) lose();
    else if (!isUsed()) take(page);
  });
  ask.send();
}, EVERY_MS);
