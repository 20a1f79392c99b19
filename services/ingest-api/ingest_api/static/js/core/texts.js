// What scripts say, in the page's language.

const language = document.documentElement.lang;
const { default: texts } = await import(new URL(`../../texts/${language}.js`, import.meta.url).href);
const plurals = new Intl.PluralRules(language);

/** The text of a key with its {names} replaced; `count` also chooses the plural form. */
export function t(key, values = {}) {
  let text = texts[key];
  if (text === undefined) throw new Error(`no text ${key}: it belongs in the table "script" of texts/*/*.toml`);
  if (typeof text !== "string") text = text[plurals.select(values.count)] ?? text.other ?? text.many;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Whether there is a text of this key. */
export function says(key) {
  return texts[key] !== undefined;
}

export { language };
