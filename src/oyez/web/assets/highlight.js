// Colours of code: a list of pieces with their kinds. The pieces together are exactly the text.
const STRING = String.raw`"(?:[^"\\\n]|\\.)*"`;
const SINGLE = String.raw`'(?:[^'\\\n]|\\.)*'`;
const NUMBER = String.raw`\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b`;

const words = (list) => String.raw`\b(?:${list.replaceAll(" ", "|")})\b`;
const build = (kinds) => ({
  names: Object.keys(kinds),
  pattern: new RegExp(
    Object.values(kinds)
      .map((source) => `(${source})`)
      .join("|"),
    "gm",
  ),
});

const SCRIPT_WORDS = "import from export const let await async function return new if else for of while type interface as true false null undefined";
const SCRIPT = {
  comment: String.raw`//[^\n]*`,
  string: [STRING, SINGLE, String.raw`\`(?:[^\`\\]|\\[\s\S])*\``].join("|"),
  word: words(SCRIPT_WORDS),
  number: NUMBER,
};
const LANGUAGES = {
  json: build({ key: `${STRING}(?=\\s*:)`, string: STRING, word: words("true false null"), number: `-?${NUMBER}` }),
  javascript: build(SCRIPT),
  typescript: build(SCRIPT),
  python: build({
    comment: "#[^\\n]*",
    string: [String.raw`"""[\s\S]*?"""`, `f?${STRING}`, `f?${SINGLE}`].join("|"),
    word: words("import from as def async await return with for in if else not and or True False None class lambda while try except"),
    number: NUMBER,
  }),
  curl: build({
    comment: "(?:^|\\s)#[^\\n]*",
    string: [STRING, String.raw`'[^']*'`].join("|"),
    word: words("curl export while do done if then fi echo sed"),
    key: String.raw`\$\w+|(?:^|\s)-{1,2}[\w-]+`,
  }),
};

export const highlight = (text, language) => {
  const found = LANGUAGES[language];
  if (!found) return [{ kind: "", text }];
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(found.pattern)) {
    if (match.index > end) pieces.push({ kind: "", text: text.slice(end, match.index) });
    pieces.push({ kind: found.names[match.slice(1).findIndex((group) => group !== undefined)], text: match[0] });
    end = match.index + match[0].length;
  }
  if (end < text.length) pieces.push({ kind: "", text: text.slice(end) });
  return pieces;
};
