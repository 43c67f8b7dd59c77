// @ts-check
// A text is found in a body: its places are marked and the folds around them opened. The body itself
// stays as it is: marks are ranges, not elements.
export {};

const HITS_MAX = 2_000;
const box = document.querySelector('[data-find]');
const said = document.querySelector('[data-found]');
const body = document.querySelector('#body :is(.js, .pairs tbody)');
if (box instanceof HTMLInputElement && said && body && window.CSS?.highlights) {
  box.removeAttribute('hidden');
  finds(box, said, body);
}

/** @param {HTMLInputElement} box @param {Element} said @param {Element} body */
function finds(box, said, body) {
  /** @type {[number, Text][]} */
  const nodes = [];
  let text = '';
  /** @type {Element | null | undefined} */
  let line;
  const walk = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const block = node.parentElement?.closest('div, summary, pre, tr');
    if (block !== line) text += '\n';
    line = block;
    nodes.push([text.length, /** @type {Text} */ (node)]);
    text += node.nodeValue ?? '';
  }
  const lower = text.toLowerCase();
  const all = lower.length === text.length ? lower : text;
  /** @type {Range[]} */
  let hits = [];
  let at = -1;

  /** The node with a place of the text, and the place in it. @param {number} place @returns {[Text, number] | undefined} */
  const node = (place) => {
    let [low, high] = [0, nodes.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((nodes[middle]?.[0] ?? 0) <= place) low = middle; else high = middle - 1;
    }
    const found = nodes[low];
    return found && [found[1], Math.min(place - found[0], found[1].length)];
  };

  const find = () => {
    [hits, at] = [[], -1];
    const wanted = box.value.toLowerCase();
    for (let place = wanted ? all.indexOf(wanted) : -1; place >= 0 && hits.length < HITS_MAX; place = all.indexOf(wanted, place + wanted.length)) {
      const [from, to] = [node(place), node(place + wanted.length - 1)];
      if (!from || !to) break;
      const range = new Range();
      range.setStart(...from);
      range.setEnd(to[0], to[1] + 1);
      hits.push(range);
    }
    CSS.highlights.set('find', new Highlight(...hits));
    said.textContent = !wanted ? '' : hits.length ? `${hits.length}${hits.length === HITS_MAX ? '+' : ''} found` : 'not found';
    if (hits.length) show(1);
  };

  /** @param {number} step */
  const show = (step) => {
    at = (at + step + hits.length) % hits.length;
    const place = hits[at]?.startContainer.parentElement;
    for (let fold = place?.closest('details'); fold; fold = fold.parentElement?.closest('details')) fold.open = true;
    place?.scrollIntoView({ block: 'nearest' });
    if (hits.length > 1) said.textContent = `${at + 1} of ${hits.length}`;
  };

  box.addEventListener('input', find);
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !hits.length) return;
    event.preventDefault();
    show(event.shiftKey ? -1 : 1);
  });
}
