// Style and script of the report page; they stand in the page, which loads nothing.

export const STYLE = `
:root { color-scheme: light dark; --ink: #1c2430; --paper: #ffffff; --line: #d8dee6; --dim: #5a6675;
  --searched: #8fa1b3; --front: #c0334d; --test: #a86a00; --original: #1c2430; --foretold: #2467a8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf2; --paper: #14181f; --line: #333c48; --dim: #9aa7b6;
    --searched: #65788c; --front: #ff6b81; --test: #f0b24a; --original: #e6ebf2; --foretold: #6fb1ee; }
}
body { margin: 0 auto; max-width: 1100px; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
a { color: inherit; } .dim { color: var(--dim); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
svg { width: 100%; max-width: 720px; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--line); } .rule { stroke: var(--dim); stroke-dasharray: 4 4; } .steps { fill: none; stroke: var(--front); opacity: .6; }
.whisker { stroke-width: 2; opacity: .6; } .hit { fill: transparent; }
.searched { fill: var(--searched); stroke: var(--searched); } .front { fill: var(--front); stroke: var(--front); }
.test { fill: var(--test); stroke: var(--test); } .original { fill: var(--original); stroke: var(--original); }
.foretold { fill: var(--foretold); stroke: var(--foretold); }
.mark { cursor: default; } a.mark { cursor: pointer; }
.mark:focus { outline: none; } .mark:focus circle, .mark:hover circle { r: 9px; } .mark:focus .hit, .mark:hover .hit { fill: var(--line); }
.key span { margin-right: 1.2rem; } .key svg { width: 12px; height: 12px; }
#tip { position: fixed; max-width: 26rem; padding: .5rem .7rem; background: var(--paper); border: 1px solid var(--dim); border-radius: 6px;
  white-space: pre-line; pointer-events: none; font-size: 13px; box-shadow: 0 2px 10px #0004; }
pre { white-space: pre-wrap; background: none; border-left: 3px solid var(--line); padding-left: .8rem; }
`;

/** Shows what a mark says beside the pointer or the focused mark; Escape hides it. */
export const SCRIPT = `
const tip = document.getElementById('tip');
const show = (mark, x, y) => {
  tip.textContent = mark.dataset.text;
  tip.hidden = false;
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + 'px';
  tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 8)) + 'px';
};
const hide = () => { tip.hidden = true; };
for (const mark of document.querySelectorAll('.mark')) {
  mark.addEventListener('pointermove', (e) => show(mark, e.clientX, e.clientY));
  mark.addEventListener('pointerleave', hide);
  mark.addEventListener('focus', () => { const b = mark.getBoundingClientRect(); show(mark, b.right, b.bottom); });
  mark.addEventListener('blur', hide);
}
addEventListener('keydown', (e) => { if (e.key === 'Escape') hide(); });
`;
